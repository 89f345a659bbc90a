/** Where the bytes of one tensor lie on the device, whatever kind of tensor it is. */
export interface Location {
  readonly buffer: GPUBuffer;
  /** In bytes, a multiple of 4. */
  readonly offset: number;
  /** The tensor's own. The buffer goes on at least to the next multiple of 4. */
  readonly byteLength: number;
}

export type Locations = ReadonlyMap<string, Location>;

/** `bytes`, up to the next multiple of 4: WebGPU copies nothing smaller. */
export function align(bytes: number): number {
  return Math.ceil(bytes / 4) * 4;
}
