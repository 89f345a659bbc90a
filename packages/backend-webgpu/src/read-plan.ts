/** Plans how bytes get from the device to the host: which copies go into which staging buffer. */
import { HoldfastError, locationOf, type TensorRange } from "@holdfast/core";
import { align, type Locations } from "./location";

/** A copy on the device, into a staging buffer: all numbers are multiples of 4. */
interface DeviceCopy {
  readonly buffer: GPUBuffer;
  readonly from: number;
  readonly to: number;
  size: number;
}

/** Bytes on their way from a mapped staging buffer to the caller's memory. */
interface HostCopy {
  readonly from: number;
  readonly to: number;
  length: number;
}

/** What goes through one staging buffer at once. */
export interface Transfer {
  readonly deviceCopies: DeviceCopy[];
  readonly hostCopies: HostCopy[];
  /** Bytes of the staging buffer that are used. */
  stagedBytes: number;
}

/**
 * Plans a read of `ranges`, one after another, through staging buffers of `stagingBytes` (a multiple of
 * 4). Ranges that lie side by side on the device become one copy, so that small tensors cost little.
 * @throws HoldfastError `INVALID_ARGUMENT` if a range is not inside its tensor, or `byteLength` is not theirs.
 */
export function planRead(
  ranges: readonly TensorRange[],
  locations: Locations,
  byteLength: number,
  stagingBytes: number,
): readonly Transfer[] {
  const transfers: Transfer[] = [];
  // A full one, so that the first byte starts another.
  let transfer: Transfer = { deviceCopies: [], hostCopies: [], stagedBytes: stagingBytes };
  let to = 0;
  for (const range of ranges) {
    const { buffer, offset } = locationOf(range, locations);
    const end = offset + range.end;
    for (let from = offset + range.start; from < end; ) {
      let copy = joinable(transfer, buffer, from) ?? newCopy(transfer, buffer, from);
      let position = copy.to + from - copy.from;
      if (position >= stagingBytes) {
        transfer = { deviceCopies: [], hostCopies: [], stagedBytes: 0 };
        transfers.push(transfer);
        copy = newCopy(transfer, buffer, from);
        position = copy.to + from - copy.from;
      }
      const length = Math.min(end - from, stagingBytes - position);
      copy.size = align(position + length - copy.to);
      if (transfer.deviceCopies.at(-1) !== copy) transfer.deviceCopies.push(copy);
      transfer.stagedBytes = copy.to + copy.size;
      addHostCopy(transfer, position, to, length);
      from += length;
      to += length;
    }
  }
  if (to !== byteLength) {
    throw new HoldfastError("INVALID_ARGUMENT", `the ranges have ${to} bytes, and the memory ${byteLength}`);
  }
  return transfers;
}

/** The last copy, if it ends where the word that `from` is in begins. */
function joinable({ deviceCopies }: Transfer, buffer: GPUBuffer, from: number): DeviceCopy | undefined {
  const last = deviceCopies.at(-1);
  return last?.buffer === buffer && last.from + last.size === from - (from % 4) ? last : undefined;
}

function newCopy({ stagedBytes }: Transfer, buffer: GPUBuffer, from: number): DeviceCopy {
  return { buffer, from: from - (from % 4), to: stagedBytes, size: 0 };
}

function addHostCopy({ hostCopies }: Transfer, from: number, to: number, length: number): void {
  const last = hostCopies.at(-1);
  if (last && last.from + last.length === from && last.to + last.length === to) last.length += length;
  else hostCopies.push({ from, to, length });
}
