/** Contents for tests: the same in every run, different at every place. */

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

/** Bytes of every value. */
export function anyBytes(length: number, seed: number): Uint8Array {
  const next = random(seed);
  return Uint8Array.from({ length }, () => next(256));
}

/**
 * Bytes that are a plain number in every dtype: no NaN, no infinity, no subnormal, which arithmetic or
 * uploading as numbers might change. None is 0, so that memory that was never written shows.
 */
export function numberBytes(length: number, seed: number): Uint8Array {
  const next = random(seed);
  return Uint8Array.from({ length }, () => 1 + next(63));
}
