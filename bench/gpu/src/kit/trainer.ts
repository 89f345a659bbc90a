import type { CudaTensor } from "@holdfast/backend-cuda";
import { addressOf, Cuda } from "./driver";
import { KERNELS } from "./kernels";

const THREADS = 256;
/** Blocks a launch: enough for the largest devices; each thread takes several words. */
const MOST_BLOCKS = 4096;

/** A program that owns CUDA memory and trains on a stream of its own. Whatever it holds ends with the process. */
export class Trainer {
  readonly cuda = new Cuda();
  readonly stream: bigint;
  readonly #fill: bigint;
  readonly #spin: bigint;
  readonly #before: bigint;
  readonly #after: bigint;
  /** A kernel's arguments, 8 bytes each, and where they are. Larger than what V8 moves around. */
  readonly #values = new BigUint64Array(16);
  readonly #places = new BigUint64Array(16);

  constructor(device = 0) {
    const { cuda } = this;
    const context = cuda.out("cuDevicePrimaryCtxRetain", Number(cuda.out("cuDeviceGet", device)));
    cuda.call("cuCtxPushCurrent_v2", context); // for good: this thread has no other
    this.stream = cuda.out("cuStreamCreate", 0);
    this.#before = cuda.out("cuEventCreate", 0);
    this.#after = cuda.out("cuEventCreate", 0);
    const module = cuda.out("cuModuleLoadData", KERNELS);
    this.#fill = cuda.out("cuModuleGetFunction", module, "holdfast_bench_fill");
    this.#spin = cuda.out("cuModuleGetFunction", module, "holdfast_bench_spin");
    const first = addressOf(this.#values);
    this.#places.set(Array.from(this.#places, (_, i) => first + 8n * BigInt(i)));
  }

  allocate(bytes: number): bigint {
    return this.cuda.out("cuMemAlloc_v2", bytes);
  }

  /** Queues a step of training: every tensor gets new contents, the one that is copied last first. */
  train(tensors: Iterable<CudaTensor>, step: number): void {
    for (const [index, { ptr, byteLength }] of [...[...tensors].entries()].reverse()) {
      const words = byteLength / 4;
      const blocks = Math.min(MOST_BLOCKS, Math.ceil(words / THREADS));
      this.#launch(this.#fill, blocks, THREADS, [ptr, BigInt(words), BigInt(seedOf(step, index))]);
    }
  }

  /** Keeps the stream busy for so long. */
  spin(ms: number): void {
    this.#launch(this.#spin, 1, 1, [BigInt(Math.round(ms * 1e6))]);
  }

  synchronize(): void {
    this.cuda.call("cuStreamSynchronize", this.stream);
  }

  /** Resolves when the stream has done all that is queued by now; the event loop goes on meanwhile. */
  async idle(): Promise<void> {
    const NOT_READY = 600;
    this.cuda.call("cuEventRecord", this.#after, this.stream);
    while (this.cuda.status("cuEventQuery", this.#after) === NOT_READY) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.cuda.call("cuEventQuery", this.#after);
  }

  /**
   * How long the stream is held by what `work` queues, in ms of the device. The stream is kept busy until all
   * of it is queued, so that the time of the calls is not in it, up to where a driver holds its caller.
   */
  held(work: () => void): number {
    let coverMs = 50;
    for (;;) {
      this.synchronize();
      this.spin(coverMs);
      this.cuda.call("cuEventRecord", this.#before, this.stream);
      work();
      const covered = this.cuda.status("cuEventQuery", this.#before) !== 0;
      this.cuda.call("cuEventRecord", this.#after, this.stream);
      this.cuda.call("cuEventSynchronize", this.#after);
      if (covered || coverMs > 500) return this.#elapsed();
      coverMs *= 4;
    }
  }

  #elapsed(): number {
    const ms = new Float32Array(1);
    const name = this.cuda.has("cuEventElapsedTime_v2") ? "cuEventElapsedTime_v2" : "cuEventElapsedTime";
    this.cuda.call(name, ms, this.#before, this.#after);
    return ms[0] ?? Number.NaN;
  }

  #launch(kernel: bigint, blocks: number, threads: number, values: readonly bigint[]): void {
    this.#values.set(values); // the driver copies them during the call
    const [grid, block] = [[blocks, 1, 1] as const, [threads, 1, 1] as const];
    this.cuda.call("cuLaunchKernel", kernel, ...grid, ...block, 0, this.stream, this.#places, null);
  }
}

/** So far apart that no two tensors of any two steps have the same contents. */
export function seedOf(step: number, index: number): number {
  return (Math.imul(step, 100_003) + index) >>> 0;
}
