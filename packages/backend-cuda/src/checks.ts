/** What can be known of tensors before anything is copied. */
import { HoldfastError, messageOf } from "@holdfast/core";
import type { DeviceContext } from "./driver";
import type { Location, Locations } from "./location";
import { Pointers } from "./pointers";
import { type CudaTensor, checkTensor } from "./tensor";

type Tensors = ReadonlyMap<string, CudaTensor>;
type Refuse = (name: string, rule: string, cause?: unknown) => HoldfastError;

/**
 * Where the bytes of tensors lie that are to be copied out.
 * @throws HoldfastError `TENSOR_NOT_READABLE` naming the tensor; what the driver fails with
 */
export function locateReadable(tensors: Tensors, context: DeviceContext): Locations {
  return locateAll(tensors, context, refuseToRead);
}

/**
 * Where the bytes of tensors lie that are to be filled.
 * @throws HoldfastError `INVALID_STATE` naming the tensor, also where filling it would change another
 */
export function locateWritable(tensors: Tensors, context: DeviceContext): Locations {
  const locations = locateAll(tensors, context, refuseToFill);
  refuseOverlaps(locations);
  return locations;
}

function locateAll(tensors: Tensors, context: DeviceContext, refuse: Refuse): Locations {
  const locations = new Map<string, Location>();
  context.run(() => {
    const pointers = new Pointers(context.driver);
    for (const [name, tensor] of tensors) {
      try {
        checkTensor(tensor);
      } catch (cause) {
        throw refuse(name, messageOf(cause), cause);
      }
      const location = locate(tensor, pointers, context.ordinal);
      if (typeof location === "string") throw refuse(name, location);
      locations.set(name, location);
    }
  });
  return locations;
}

/** Where a tensor's bytes lie, or what is wrong with that. */
function locate({ ptr, byteLength }: CudaTensor, pointers: Pointers, device: number): Location | string {
  const address = Number(ptr);
  if (byteLength === 0) return { address, byteLength, end: address };
  const at = `0x${address.toString(16)}`;
  const allocation = pointers.allocationAt(address);
  if (!allocation) return `CUDA knows no memory at ${at}: it was freed, or is of another process`;
  if (allocation.kind === "host") return `${at} is memory of the host: hostBackend() takes that`;
  if (allocation.device !== device) {
    const there = allocation.device;
    return `${at} is memory of CUDA device ${there}, and this backend is of ${device}: use cudaBackend({ device: ${there} })`;
  }
  const left = allocation.end - address;
  if (byteLength > left)
    return `it has ${byteLength} bytes, and the allocation that ${at} is in has ${left} from there`;
  return { address, byteLength, end: allocation.end };
}

function refuseOverlaps(locations: Locations): void {
  const filled = [...locations].filter(([, { byteLength }]) => byteLength > 0);
  filled.sort(([, a], [, b]) => a.address - b.address);
  let before: { name: string; end: number } | undefined;
  for (const [name, { address, byteLength }] of filled) {
    if (before && before.end > address) {
      throw refuseToFill(
        name,
        `it overlaps with tensor ${before.name}, which ends at 0x${before.end.toString(16)}`,
      );
    }
    before = { name, end: address + byteLength };
  }
}

function refuseToRead(name: string, rule: string, cause?: unknown): HoldfastError {
  return new HoldfastError("TENSOR_NOT_READABLE", `tensor ${name} cannot be copied out: ${rule}`, { cause });
}

function refuseToFill(name: string, rule: string, cause?: unknown): HoldfastError {
  return new HoldfastError("INVALID_STATE", `tensor ${name} cannot be filled: ${rule}`, { cause });
}
