import { HoldfastError } from "@holdfast/core";
import type { DeviceGuard } from "./device-guard";
import type { Location, Locations } from "./location";
import { COPY_DST } from "./usage";

/**
 * WebGPU refuses a whole submission, says why in words only, and cannot be asked whether a buffer was
 * destroyed. This finds the tensor that it refused, by trying to copy from ever fewer of them.
 * @returns `TENSOR_NOT_READABLE` naming the tensor, or undefined if the device refuses none of them
 */
export async function findUnreadable(
  guard: DeviceGuard,
  locations: Locations,
): Promise<HoldfastError | undefined> {
  let suspects = [...locations].filter(([, { byteLength }]) => byteLength > 0);
  let cause = await refusalToRead(guard, suspects);
  if (!cause) return undefined;
  while (suspects.length > 1) {
    const half = suspects.slice(0, suspects.length >> 1);
    const refusal = await refusalToRead(guard, half);
    if (refusal) cause = refusal;
    suspects = refusal ? half : suspects.slice(half.length);
  }
  const [name] = suspects[0] ?? [];
  return new HoldfastError(
    "TENSOR_NOT_READABLE",
    `tensor ${name} cannot be copied out: its buffer was destroyed, is mapped, or is of another device. ` +
      `The device says: ${cause.message.trim()}`,
    { cause },
  );
}

async function refusalToRead(
  guard: DeviceGuard,
  suspects: readonly (readonly [string, Location])[],
): Promise<GPUError | null> {
  const { device } = guard;
  const { result: scratch, refusal } = guard.scoped(() => {
    const buffer = device.createBuffer({ size: 4, usage: COPY_DST });
    const encoder = device.createCommandEncoder();
    for (const [, location] of suspects)
      encoder.copyBufferToBuffer(location.buffer, location.offset, buffer, 0, 4);
    device.queue.submit([encoder.finish()]);
    return buffer;
  });
  scratch.destroy();
  return refusal;
}
