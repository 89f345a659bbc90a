/** A snapshot of tensors in the host's memory: a copy of them, or, where that has no room, the tensors themselves. */
import type { Budget, Snapshot, SnapshotMode, TensorRange } from "./backend";
import { HoldfastError } from "./errors";
import { nextTurn, turnIsDue } from "./event-loop";
import type { Copies } from "./host-copies";
import { byteLengthOfHostLeaf, bytesOfHostLeaf, type HostLeaf } from "./host-tensor";

type HostLeaves = ReadonlyMap<string, HostLeaf>;

/** Bytes `[start, end)` of the tensor called `name`, not copied. */
type BytesOf = (name: string, start: number, end: number) => Uint8Array;

/** Bytes that are copied without a look at the clock: even into fresh memory, less than a stretch's worth. */
const STEP_BYTES = 512 * 1024;

export class HostSnapshot implements Snapshot {
  readonly mode: SnapshotMode;
  readonly staged: Promise<void>;
  readonly #bytesOf: BytesOf;
  #letGo: (() => void) | undefined;
  /** The read that was asked for last: they take their turns in order. */
  #last: Promise<void> = Promise.resolve();

  constructor(tensors: HostLeaves, budget: Budget, copies: Copies) {
    const copy = copies.take(totalBytes(tensors), budget);
    if (copy) {
      copy.fill(tensors);
      this.mode = "device-copy";
      this.#bytesOf = (name, start, end) => {
        const at = copy.startOf(name) ?? unknown(name);
        return copy.memory.subarray(at + start, at + end);
      };
      this.#letGo = () => copies.giveBack(copy);
      this.staged = Promise.resolve();
    } else {
      this.mode = "blocking";
      // A tensor that is read in place may lose its buffer meanwhile, which is told then.
      this.#bytesOf = (name, start, end) =>
        bytesOfHostLeaf(tensors.get(name) ?? unknown(name), name, start, end);
      this.staged = new Promise((resolve) => {
        this.#letGo = resolve;
      });
    }
  }

  read(ranges: readonly TensorRange[], into: Uint8Array, signal?: AbortSignal): Promise<void> {
    const reading = this.#last.then(() => this.#copy(ranges, into, signal));
    this.#last = reading.catch(() => {}); // whoever asked for it is told
    return reading;
  }

  lend(ranges: readonly TensorRange[]): readonly Uint8Array[] | undefined {
    this.#assertWanted(undefined);
    const views: Uint8Array[] = [];
    for (const { name, start, end } of ranges) {
      const view = this.#bytesOf(name, start, end);
      if (!isShared(view)) return undefined;
      views.push(view);
    }
    return views;
  }

  close(): void {
    this.#letGo?.();
    this.#letGo = undefined;
  }

  async #copy(ranges: readonly TensorRange[], into: Uint8Array, signal?: AbortSignal): Promise<void> {
    this.#assertWanted(signal);
    let position = 0;
    let copied = 0;
    for (const { name, start, end } of ranges) {
      for (let at = start; at < end; ) {
        const next = Math.min(end, at + STEP_BYTES);
        if (copied > STEP_BYTES && turnIsDue()) {
          await nextTurn();
          this.#assertWanted(signal);
          copied = 0;
        }
        into.set(this.#bytesOf(name, at, next), position);
        position += next - at;
        copied += next - at;
        at = next;
      }
    }
  }

  #assertWanted(signal: AbortSignal | undefined): void {
    signal?.throwIfAborted();
    if (!this.#letGo) throw new HoldfastError("CLOSED", "this snapshot was closed: take a new one");
  }
}

/** How many bytes all of them have. @throws HoldfastError `TENSOR_NOT_READABLE` naming the tensor */
export function totalBytes(tensors: HostLeaves): number {
  let total = 0;
  for (const [name, leaf] of tensors) total += byteLengthOfHostLeaf(leaf, name);
  return total;
}

function isShared({ buffer }: Uint8Array): boolean {
  return typeof SharedArrayBuffer !== "undefined" && buffer instanceof SharedArrayBuffer;
}

function unknown(name: string): never {
  throw new HoldfastError("INVALID_ARGUMENT", `no tensor ${name} was given to the host backend`);
}
