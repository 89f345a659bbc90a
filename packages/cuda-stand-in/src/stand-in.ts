import koffi from "koffi";

/** What a stand-in can be told: see driver/standin.h. */
export interface Settings {
  readonly devices: number;
  readonly driver_version: number;
  /** Bytes, of each device. */
  readonly device_memory: number;
  /** Which of the machine's devices is the process's first, as CUDA_VISIBLE_DEVICES has it. */
  readonly first_device: number;
  /** GB/s; 0 is as fast as the CPU copies. */
  readonly d2h_gbps: number;
  readonly h2d_gbps: number;
  readonly d2d_gbps: number;
  readonly op_us: number;
  /** Up to so long, at random, each copy begins late. */
  readonly jitter_us: number;
  readonly seed: number;
  /** A sum of: 1, ours do not wait for training; 2, training does not wait for ours; 4, ours not for each other; 8, nobody for other processes. */
  readonly ignored_waits: number;
  /** 1: events count as done as soon as they are recorded. */
  readonly early_events: number;
  /** What every query of an event fails with; 0: none does. */
  readonly failing_queries: number;
  /** A sum of: 1, training's streams are captured into a graph; 2, another thread captures, in global mode. */
  readonly capturing: number;
  /** 1: freeing memory and unloading modules wait for nothing, which is all that CUDA promises. */
  readonly eager_free: number;
  /** A sum of: 1, our streams stand still; 2, those of training do. */
  readonly held: number;
}

/** What the stand-in knows of itself. All but `calls`, `peakDeviceBytes` and `pageableCopies` is of now. */
export interface Statistics {
  readonly allocations: number;
  readonly deviceBytes: number;
  readonly peakDeviceBytes: number;
  readonly pins: number;
  readonly pinnedBytes: number;
  readonly streams: number;
  readonly events: number;
  /** Pieces of work that streams have yet to do. */
  readonly pending: number;
  readonly modules: number;
  /** References to primary contexts. */
  readonly contexts: number;
  /** How many contexts are pushed on this thread. */
  readonly contextDepth: number;
  /** What this thread may do while another captures a graph: 0, the default, is the least. */
  readonly captureMode: number;
  /** Copies of memory that is not pinned: each held its caller. */
  readonly pageableCopies: number;
  /** By function. */
  readonly calls: Readonly<Record<string, number>>;
}

/** Tells a stand-in what to do, and asks what it did. It is the process's own: one a library. */
export class StandIn {
  readonly #set: (name: string, value: number) => number;
  readonly #failCall: (name: string, nth: number, code: number) => void;
  readonly #failWork: (nth: number, code: number) => void;
  readonly #statistics: (text: Uint8Array, room: number) => number;

  /** @param path what `buildStandIn` returned */
  constructor(readonly path: string) {
    const library = koffi.load(path);
    this.#set = library.func("standinSet", "int", ["str", "double"]);
    this.#failCall = library.func("standinFailCall", "void", ["str", "long", "int"]);
    this.#failWork = library.func("standinFailWork", "void", ["long", "int"]);
    this.#statistics = library.func("standinStatistics", "int", ["void *", "int"]);
  }

  set(settings: Partial<Settings>): void {
    for (const [name, value] of Object.entries(settings)) {
      if (!this.#set(name, value)) throw new Error(`the stand-in has no setting ${name}`);
    }
  }

  /** The nth call from now on, of one function or of any, fails with `code`. */
  failCall(nth: number, code: number, name = ""): void {
    this.#failCall(name, nth, code);
  }

  /** The nth piece of work from now on, on any stream, fails with `code`. */
  failWork(nth: number, code: number): void {
    this.#failWork(nth, code);
  }

  /** Takes back what `failCall` and `failWork` asked for. */
  failNothing(): void {
    this.failCall(0, 0);
    this.failWork(0, 0);
  }

  statistics(): Statistics {
    const text = new Uint8Array(16_384);
    const length = this.#statistics(text, text.byteLength);
    return JSON.parse(new TextDecoder().decode(text.subarray(0, length)));
  }
}
