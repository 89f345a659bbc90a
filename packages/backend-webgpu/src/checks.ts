/** What can be seen of tensors without asking the device, and is checked before anything is copied. */
import { HoldfastError, messageOf } from "@holdfast/core";
import { align, type Location, type Locations } from "./location";
import { locate, type WebGpuTensor } from "./tensor";
import { COPY_DST, COPY_SRC } from "./usage";

type Tensors = ReadonlyMap<string, WebGpuTensor>;
type Refuse = (name: string, rule: string, cause?: unknown) => HoldfastError;

/**
 * Where the bytes of tensors lie that are to be copied out.
 * @throws HoldfastError `TENSOR_NOT_READABLE` naming the tensor
 */
export function locateReadable(tensors: Tensors): Locations {
  return locateAll(tensors, refuseToRead, (name, { usage }) => {
    if ((usage & COPY_SRC) === 0) throw refuseToRead(name, "create its buffer with GPUBufferUsage.COPY_SRC");
  });
}

/**
 * Where the bytes of tensors lie that are to be filled.
 * @throws HoldfastError `INVALID_STATE` naming the tensor, also where filling it would change another
 */
export function locateWritable(tensors: Tensors): Locations {
  const locations = locateAll(tensors, refuseToFill, (name, { usage }) => {
    if ((usage & COPY_DST) === 0) throw refuseToFill(name, "create its buffer with GPUBufferUsage.COPY_DST");
  });
  refuseOverlaps(locations);
  return locations;
}

function locateAll(
  tensors: Tensors,
  refuse: Refuse,
  checkUsage: (name: string, buffer: GPUBuffer) => void,
): Locations {
  const locations = new Map<string, Location>();
  for (const [name, tensor] of tensors) {
    checkUsage(name, tensor.buffer);
    if (tensor.buffer.mapState !== "unmapped") throw refuse(name, "its buffer is mapped: unmap it first");
    try {
      locations.set(name, locate(tensor));
    } catch (cause) {
      throw refuse(name, messageOf(cause), cause);
    }
  }
  return locations;
}

function refuseOverlaps(locations: Locations): void {
  const byOffset = [...locations].filter(([, { byteLength }]) => byteLength > 0);
  byOffset.sort(([, a], [, b]) => a.offset - b.offset);
  const ends = new Map<GPUBuffer, { name: string; end: number }>();
  for (const [name, { buffer, offset, byteLength }] of byOffset) {
    const before = ends.get(buffer);
    if (before && before.end > offset) {
      throw refuseToFill(
        name,
        `it overlaps with tensor ${before.name}, which ends at byte ${before.end} of the same buffer ` +
          "(lengths count up to a multiple of 4)",
      );
    }
    ends.set(buffer, { name, end: offset + align(byteLength) });
  }
}

function refuseToRead(name: string, rule: string, cause?: unknown): HoldfastError {
  return new HoldfastError("TENSOR_NOT_READABLE", `tensor ${name} cannot be copied out: ${rule}`, { cause });
}

function refuseToFill(name: string, rule: string, cause?: unknown): HoldfastError {
  return new HoldfastError("INVALID_STATE", `tensor ${name} cannot be filled: ${rule}`, { cause });
}
