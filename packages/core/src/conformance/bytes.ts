/** Memory for tests, and contents for it: the same in every run, different at every place. */

/** Whole numbers from 0 to `below` − 1, by xorshift32 (Marsaglia 2003). */
export type Random = (below: number) => number;

export function random(seed: number): Random {
  // Spread over the state, so that neighbouring seeds differ from the first number on; 0 would be a fixed point.
  let state = Math.imul(seed + 1, 0x9e3779b1) | 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** Shared memory, where the platform has any. */
export function sharedMemory(bytes: number): Uint8Array {
  return new Uint8Array(
    typeof SharedArrayBuffer === "undefined" ? new ArrayBuffer(bytes) : new SharedArrayBuffer(bytes),
  );
}

/** Bytes of every value. */
export function anyBytes(length: number, seed: number): Uint8Array {
  const next = random(seed);
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at++) bytes[at] = next(256);
  return bytes;
}

/**
 * Bytes that are a plain number in every dtype: no NaN, no infinity, no subnormal, which arithmetic or
 * uploading as numbers might change. None is 0, so that memory that was never written shows.
 */
export function numberBytes(length: number, seed: number): Uint8Array {
  return anyBytes(length, seed).map((byte) => 1 + (byte % 63));
}
