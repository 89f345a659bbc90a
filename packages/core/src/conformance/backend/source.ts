import type { TensorBatch, TensorPart, TensorSource } from "../../backend";
import { check } from "../assert";
import { type Random, random, sharedMemory } from "../bytes";
import type { Contents, Specs } from "./state";

/**
 * A source like core's: parts of any length that is a multiple of 4, of tensors in any order, a few in a
 * batch. It lends one batch at a time, and spoils what was given back.
 */
export class ScatteredSource implements TensorSource {
  readonly #parts: TensorPart[];
  readonly #next: Random;
  #lent = 0;

  constructor(
    readonly tensors: Specs,
    contents: Contents,
    seed: number,
    /** Called before batch `index` is lent; what it throws, the source throws. */
    private readonly before: (index: number) => void = () => {},
  ) {
    this.#next = random(seed);
    this.#parts = scatter(contents, this.#next);
  }

  async *batches(): AsyncGenerator<TensorBatch, void> {
    for (let at = 0, index = 0; at < this.#parts.length; index++) {
      this.before(index);
      const parts = this.#parts.slice(at, at + 1 + this.#next(6));
      at += parts.length;
      let letGo = () => {};
      const released = new Promise<void>((resolve) => {
        letGo = resolve;
      });
      this.#lent++;
      let lent = true;
      yield {
        parts,
        release: () => {
          if (lent) this.#lent--;
          lent = false;
          for (const part of parts) part.bytes.fill(0xee);
          letGo();
        },
      };
      await released;
    }
  }

  assertAllReleased(when: string): void {
    check(this.#lent === 0, `${when} every batch was released`, `${this.#lent} are held`);
  }
}

/** Cuts each tensor into parts, and deals them out: each tensor's in ascending order, the tensors mixed. */
function scatter(contents: Contents, next: Random): TensorPart[] {
  const queues = [...contents]
    .map(([name, bytes]) => cut(name, bytes, next))
    .filter(({ length }) => length > 0);
  const parts: TensorPart[] = [];
  while (queues.length > 0) {
    const at = next(queues.length);
    const part = queues[at]?.shift();
    if (part) parts.push(part);
    if (queues[at]?.length === 0) queues.splice(at, 1);
  }
  return parts;
}

function cut(name: string, bytes: Uint8Array, next: Random): TensorPart[] {
  const parts: TensorPart[] = [];
  for (let start = 0; start < bytes.byteLength; ) {
    const end = Math.min(bytes.byteLength, start + 4 * (1 + next(400)));
    parts.push({ name, start, bytes: anywhere(bytes.subarray(start, end), next) });
    start = end;
  }
  return parts;
}

/** A copy in memory that may be shared, and is not aligned. */
function anywhere(bytes: Uint8Array, next: Random): Uint8Array {
  const offset = next(4);
  const size = offset + bytes.byteLength;
  const memory = (next(2) === 0 ? new Uint8Array(size) : sharedMemory(size)).subarray(offset);
  memory.set(bytes);
  return memory;
}
