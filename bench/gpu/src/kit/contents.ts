/** What tensors hold at each step of training, and whether bytes are that. */
import type { DeviceState } from "./device-state";
import { filledWords } from "./kernels";
import { seedOf } from "./trainer";

export class Contents {
  readonly #filled: Uint32Array;

  /** Of steps up to `last`. */
  constructor({ tensors }: DeviceState, last: number) {
    const words = Math.max(...tensors.map(({ byteLength }) => byteLength)) / 4;
    this.#filled = filledWords(seedOf(last, tensors.length) + words);
  }

  /**
   * Compares, as fast as memory is, with what the step made of its tensor `index`.
   * @throws Error if any word differs
   */
  check(
    what: string,
    { buffer, byteOffset, byteLength }: ArrayBufferView,
    step: number,
    index: number,
  ): void {
    const seed = seedOf(step, index);
    const words = new Uint32Array(buffer, byteOffset, byteLength / 4);
    const expected = this.#filled.subarray(seed, seed + words.length);
    if (Buffer.compare(bytesOf(words), bytesOf(expected)) === 0) return;
    const isWrong = (word: number, at: number) => word !== expected[at];
    const [first, wrong] = [words.findIndex(isWrong), words.filter(isWrong).length];
    throw new Error(
      `WRONG BYTES in ${what}: ${wrong} of ${words.length} words are not those of its step, from word ${first} on`,
    );
  }
}

function bytesOf({ buffer, byteOffset, byteLength }: Uint32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
