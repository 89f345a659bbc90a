/** Plans a copy of tensors on the device: many tensors into few buffers, in the order in which they come. */
import { align, type Location, type Locations } from "./location";

/** Bytes that go from a tensor's buffer into the plan's buffer number `target`: multiples of 4. */
interface PlannedCopy {
  readonly buffer: GPUBuffer;
  readonly from: number;
  readonly target: number;
  readonly to: number;
  size: number;
}

export interface CopyPlan {
  /** What each buffer holds, in bytes. */
  readonly sizes: readonly number[];
  readonly copies: readonly PlannedCopy[];
  /** Where the tensors lie when that was done. */
  locate(buffers: readonly GPUBuffer[]): Locations;
}

/** Plans to copy `locations` into buffers of at most `maxBytes`. No tensor is larger than that. */
export function planCopy(locations: Locations, maxBytes: number): CopyPlan {
  const sizes: number[] = [];
  const copies: PlannedCopy[] = [];
  const places = new Map<string, { target: number; offset: number }>();
  for (const [name, { buffer, offset: from, byteLength }] of locations) {
    const size = align(byteLength);
    if (size === 0) continue;
    let to = sizes.at(-1);
    if (to === undefined || to + size > maxBytes) {
      to = 0;
      sizes.push(0);
    }
    const target = sizes.length - 1;
    sizes[target] = to + size;
    places.set(name, { target, offset: to });
    addCopy(copies, { buffer, from, target, to, size });
  }
  return { sizes, copies, locate: (buffers) => moved(locations, places, buffers) };
}

/** Tensors that lie side by side, before as after, take one copy. */
function addCopy(copies: PlannedCopy[], copy: PlannedCopy): void {
  const last = copies.at(-1);
  const joins = last?.buffer === copy.buffer && last.from + last.size === copy.from;
  if (joins && last.target === copy.target) last.size += copy.size;
  else copies.push(copy);
}

function moved(
  locations: Locations,
  places: ReadonlyMap<string, { target: number; offset: number }>,
  buffers: readonly GPUBuffer[],
): Locations {
  const result = new Map<string, Location>();
  for (const [name, location] of locations) {
    const place = places.get(name);
    const buffer = place && buffers[place.target];
    // Tensors without bytes have no place, and are never read.
    result.set(name, buffer ? { buffer, offset: place.offset, byteLength: location.byteLength } : location);
  }
  return result;
}
