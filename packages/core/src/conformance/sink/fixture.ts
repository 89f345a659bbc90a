import type { Sink, SinkCapabilities } from "../../sink";

/** A sink on storage of its own, for one case. */
export interface SinkFixture {
  readonly sink: Sink;
  /**
   * A second sink on the same storage, made after the first was closed: as after a restart. Needed where
   * the sink can read or delete.
   */
  reopen?(): Promise<Sink>;
  /**
   * Another sink on the same storage while the first is open: what a rank has in a process of its own. Needed where
   * the sink takes several ranks.
   */
  join?(): Promise<Sink>;
  /** Removes the storage. The sinks were closed before. */
  dispose?(): Promise<void>;
}

/** The sink that is to be tested. */
export interface SinkSuite {
  /** For the report. */
  readonly name: string;
  /** What the sink declares; the cases are chosen by it, and one checks that it is what the sink says. */
  readonly capabilities: SinkCapabilities;
  /** Makes empty storage, and a sink on it. Called for each case. */
  create(): Promise<SinkFixture>;
}

/** What a case works with: a fixture whose sink is closed, and storage disposed of, when it ends. */
export interface SinkContext {
  readonly sink: Sink;
  /** Closes the sink, as a process that ends does, and opens another on the same storage. */
  restart(): Promise<Sink>;
  /** Opens another sink on the same storage, as the process of another rank does. */
  join(): Promise<Sink>;
}

/** Registers the cases of one group. */
export interface SinkCases {
  readonly capabilities: SinkCapabilities;
  readonly test: (title: string, body: (context: SinkContext) => Promise<void>) => void;
}

/** Runs one case on a fixture of its own. */
export async function runSinkCase(
  suite: SinkSuite,
  body: (context: SinkContext) => Promise<void>,
): Promise<void> {
  const fixture = await suite.create();
  const opened = [fixture.sink];
  try {
    await body({
      sink: fixture.sink,
      async restart() {
        if (!fixture.reopen)
          throw new Error("the fixture needs `reopen`, because this sink can read or delete");
        await fixture.sink.close();
        const sink = await fixture.reopen();
        opened.push(sink);
        return sink;
      },
      async join() {
        if (!fixture.join) throw new Error("the fixture needs `join`, because this sink takes several ranks");
        const sink = await fixture.join();
        opened.push(sink);
        return sink;
      },
    });
  } finally {
    for (const sink of opened) await sink.close();
    await fixture.dispose?.();
  }
}
