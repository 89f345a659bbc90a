/** Plans copies: what lies side by side in one allocation, before as after, takes one. */
import { HoldfastError, locationOf, type TensorRange } from "@holdfast/core";
import type { Copy, Location, Locations } from "./location";

/** Copies to places that are counted from 0. */
export interface CopyPlan {
  readonly copies: readonly Copy[];
  /** All bytes together. */
  readonly byteLength: number;
}

class Packing implements CopyPlan {
  readonly copies: { readonly to: number; readonly from: number; byteLength: number }[] = [];
  byteLength = 0;
  /** Of the allocation that the last copy is from. */
  #end = 0;

  /** Adds [start, end) of a tensor. */
  add({ address, end: limit }: Location, start: number, end: number): void {
    const [from, byteLength] = [address + start, end - start];
    const last = this.copies.at(-1);
    if (last && last.from + last.byteLength === from && from < this.#end) last.byteLength += byteLength;
    else if (byteLength > 0) {
      this.copies.push({ to: this.byteLength, from, byteLength });
      this.#end = limit;
    }
    this.byteLength += byteLength;
  }
}

/** Plans to pack tensors one after another, in their order, with no gap: so that any stretch of them is one copy. */
export function planPacking(locations: Locations): CopyPlan {
  const packing = new Packing();
  for (const location of locations.values()) packing.add(location, 0, location.byteLength);
  return packing;
}

/** Where they lie when that was done, in one allocation up to `end`. */
export function packedAt(address: number, end: number, locations: Locations): Locations {
  const packed = new Map<string, Location>();
  let at = address;
  for (const [name, { byteLength }] of locations) {
    packed.set(name, { address: at, byteLength, end });
    at += byteLength;
  }
  return packed;
}

/**
 * Plans to read `ranges`, one after another with no gap.
 * @throws HoldfastError `INVALID_ARGUMENT` if a range is not inside its tensor, or `byteLength` is not theirs.
 */
export function planRead(
  ranges: readonly TensorRange[],
  locations: Locations,
  byteLength: number,
): readonly Copy[] {
  const packing = new Packing();
  for (const range of ranges) packing.add(locationOf(range, locations), range.start, range.end);
  if (packing.byteLength !== byteLength) {
    throw new HoldfastError(
      "INVALID_ARGUMENT",
      `the ranges have ${packing.byteLength} bytes, and the memory ${byteLength}`,
    );
  }
  return packing.copies;
}

/** The part of copies that goes to places [start, end), counted from `start`. */
export function slice(copies: readonly Copy[], start: number, end: number): readonly Copy[] {
  return copies.flatMap(({ to, from, byteLength }) => {
    const first = Math.max(to, start);
    const last = Math.min(to + byteLength, end);
    return first < last ? [{ to: first - start, from: from + first - to, byteLength: last - first }] : [];
  });
}

/** The copies, to places counted from `address`. */
export function shifted(copies: readonly Copy[], address: number): readonly Copy[] {
  return copies.map(({ to, from, byteLength }) => ({ to: address + to, from, byteLength }));
}
