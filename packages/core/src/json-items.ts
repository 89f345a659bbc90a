import { encodeUtf8 } from "./json";

/** Characters that are encoded at once: a long text of many items shall not stand around as strings. */
const BATCH = 64 * 1024;

/** The items of a JSON list or object, written one by one. */
export class JsonItems {
  readonly #batches: Uint8Array[] = [];
  #text = "";
  #empty = true;

  add(item: string): void {
    this.#text += this.#empty ? item : `,${item}`;
    this.#empty = false;
    if (this.#text.length < BATCH) return;
    this.#batches.push(encodeUtf8(this.#text));
    this.#text = "";
  }

  /** All of them with commas between, as UTF-8, in what they stand in: `{` and `}`. */
  encode(before: string, behind: string): Uint8Array {
    const pieces = [encodeUtf8(before), ...this.#batches, encodeUtf8(this.#text + behind)];
    const bytes = new Uint8Array(pieces.reduce((sum, { byteLength }) => sum + byteLength, 0));
    let position = 0;
    for (const piece of pieces) {
      bytes.set(piece, position);
      position += piece.byteLength;
    }
    return bytes;
  }
}
