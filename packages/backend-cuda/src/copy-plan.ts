/** Plans copies: what lies side by side, before as after, takes one. */
import { HoldfastError, type TensorRange } from "@holdfast/core";
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

  add(from: number, byteLength: number): void {
    const last = this.copies.at(-1);
    if (last && last.from + last.byteLength === from) last.byteLength += byteLength;
    else if (byteLength > 0) this.copies.push({ to: this.byteLength, from, byteLength });
    this.byteLength += byteLength;
  }
}

/** Plans to pack tensors one after another, in their order, with no gap: so that any stretch of them is one copy. */
export function planPacking(locations: Locations): CopyPlan {
  const packing = new Packing();
  for (const { address, byteLength } of locations.values()) packing.add(address, byteLength);
  return packing;
}

/** Where they lie when that was done. */
export function packedAt(address: number, locations: Locations): Locations {
  const packed = new Map<string, Location>();
  let at = address;
  for (const [name, { byteLength }] of locations) {
    packed.set(name, { address: at, byteLength });
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
  for (const range of ranges) packing.add(addressOf(range, locations), range.end - range.start);
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

function addressOf({ name, start, end }: TensorRange, locations: Locations): number {
  const location = locations.get(name);
  if (!location) throw new HoldfastError("INVALID_ARGUMENT", `the snapshot has no tensor ${name}`);
  const whole = Number.isSafeInteger(start) && Number.isSafeInteger(end);
  if (!whole || start < 0 || end < start || end > location.byteLength) {
    throw new HoldfastError(
      "INVALID_ARGUMENT",
      `tensor ${name} has ${location.byteLength} bytes, and not the range [${start}, ${end})`,
    );
  }
  return location.address + start;
}
