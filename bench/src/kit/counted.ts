import type { Sink } from "@holdfast/core";

/** A sink whose calls are counted, by name; those of what it returns are not. */
export class CountedSink {
  readonly sink: Sink;
  #calls: Record<string, number> = {};

  constructor(inner: Sink) {
    const count = <A extends readonly unknown[], R>(name: string, call: (...args: A) => R) => {
      return (...args: A): R => {
        this.#calls[name] = (this.#calls[name] ?? 0) + 1;
        return call(...args);
      };
    };
    this.sink = {
      name: inner.name,
      protocol: inner.protocol,
      capabilities: inner.capabilities,
      begin: count("begin", (attempt, rank, options) => inner.begin(attempt, rank, options)),
      status: count("status", (attempt) => inner.status(attempt)),
      manifest: count("manifest", (attempt, rank) => inner.manifest(attempt, rank)),
      commit: count("commit", (attempt, id, files) => inner.commit(attempt, id, files)),
      open: count("open", (id) => inner.open(id)),
      list: count("list", (options) => inner.list(options)),
      delete: count("delete", (id) => inner.delete(id)),
      sweep: count("sweep", (options) => inner.sweep(options)),
      close: () => inner.close(),
    };
  }

  /** Since the last time that this was asked. */
  take(): Readonly<Record<string, number>> {
    const calls = this.#calls;
    this.#calls = {};
    return calls;
  }
}
