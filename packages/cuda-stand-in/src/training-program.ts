import koffi from "koffi";

/** CU_EVENT_DISABLE_TIMING, which CU_EVENT_INTERPROCESS needs beside itself. */
const INTERPROCESS = 2 | 4;

type Driver = (...parameters: readonly unknown[]) => number;

/** The part of a program that owns CUDA memory and trains: allocations of one device, and a stream that changes them. */
export class TrainingProgram {
  /** Where its steps are queued; 0n is the legacy stream. */
  readonly stream: bigint;
  readonly #library: ReturnType<typeof koffi.load>;
  readonly #functions = new Map<string, Driver>();
  readonly #allocated = new Set<bigint>();
  readonly #device: number;
  readonly #context: bigint;
  #closed = false;

  /** @param path of the driver, which is a stand-in */
  constructor(path: string, { device = 0, legacyStream = false } = {}) {
    this.#library = koffi.load(path);
    this.#device = device;
    this.#call("cuInit", ["uint"], 0);
    this.#context = this.#out((out) =>
      this.#call("cuDevicePrimaryCtxRetain", ["void *", "int"], out, device),
    );
    this.stream = legacyStream
      ? 0n
      : this.#current(() => this.#out((out) => this.#call("cuStreamCreate", ["void *", "uint"], out, 0)));
  }

  /** Memory for `byteLength` bytes, at least one. */
  allocate(byteLength: number): bigint {
    const size = Math.max(1, byteLength);
    const ptr = this.#current(() =>
      this.#out((out) => this.#call("cuMemAlloc_v2", ["void *", "size_t"], out, size)),
    );
    this.#allocated.add(ptr);
    return ptr;
  }

  free(ptr: bigint): void {
    this.#allocated.delete(ptr);
    this.#current(() => this.#call("cuMemFree_v2", ["uint64"], ptr));
  }

  /** Queues a write, as a step of training does. */
  write(ptr: bigint, bytes: Uint8Array): void {
    const types = ["uint64", "uint64", "void *", "size_t"];
    this.#current(() => this.#call("standinWrite", types, this.stream, ptr, bytes, bytes.byteLength));
  }

  /** The IPC handle by which another process opens the memory. */
  exportMemory(ptr: bigint): Uint8Array {
    const handle = new Uint8Array(64);
    this.#current(() => this.#call("cuIpcGetMemHandle", ["void *", "uint64"], handle, ptr));
    return handle;
  }

  /** Queues an event behind everything that was queued. It comes back as the IPC handle for another process. */
  exportEvent(): Uint8Array {
    const handle = new Uint8Array(64);
    this.#current(() => {
      const event = this.#out((out) => this.#call("cuEventCreate", ["void *", "uint"], out, INTERPROCESS));
      this.#call("cuEventRecord", ["uint64", "uint64"], event, this.stream);
      this.#call("cuIpcGetEventHandle", ["void *", "uint64"], handle, event);
    });
    return handle;
  }

  /** What the memory holds when everything that was queued is done. Holds the thread until then. */
  read(ptr: bigint, byteLength: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(byteLength);
    const types = ["uint64", "uint64", "void *", "size_t"];
    this.#current(() => this.#call("standinRead", types, this.stream, ptr, bytes, byteLength));
    return bytes;
  }

  /** Holds the thread until everything that was queued is done. */
  synchronize(): void {
    this.#current(() => this.#call("cuStreamSynchronize", ["uint64"], this.stream));
  }

  /** Frees everything, also where the device was lost. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#current(() => {
      for (const ptr of this.#allocated) this.#status("cuMemFree_v2", ["uint64"], ptr);
      if (this.stream !== 0n) this.#status("cuStreamDestroy_v2", ["uint64"], this.stream);
    });
    this.#allocated.clear();
    this.#status("cuDevicePrimaryCtxRelease_v2", ["int"], this.#device);
  }

  #current<T>(work: () => T): T {
    this.#call("cuCtxPushCurrent_v2", ["uint64"], this.#context);
    try {
      return work();
    } finally {
      this.#call("cuCtxPopCurrent_v2", ["void *"], new BigUint64Array(1));
    }
  }

  #out(call: (out: BigUint64Array) => void): bigint {
    const out = new BigUint64Array(1);
    call(out);
    return out[0] ?? 0n;
  }

  #call(name: string, types: readonly string[], ...parameters: readonly unknown[]): void {
    const code = this.#status(name, types, ...parameters);
    if (code !== 0) throw new Error(`the training program's ${name} failed with ${code}`);
  }

  #status(name: string, types: readonly string[], ...parameters: readonly unknown[]): number {
    const known: Driver = this.#functions.get(name) ?? this.#library.func(name, "int", [...types]);
    this.#functions.set(name, known);
    return known(...parameters);
  }
}
