/** How much of everything is measured. */
export interface GpuScale {
  readonly quick: boolean;
  /** Of the states that are saved beside the peers, in GB, ascending. */
  readonly sizes: readonly number[];
  /** What runs the peers. */
  readonly python: string;
}

const GB = 1e9;

/** Bytes of the state of all groups that have only one: 4 GB, or the largest size if that is less. */
export function mainBytes({ sizes }: GpuScale): number {
  return Math.min(4, Math.max(...sizes)) * GB;
}

/** Bytes of many small tensors: much less, since what they cost is their number. */
export function smallBytes(scale: GpuScale): number {
  return mainBytes(scale) / 16;
}

/** `0.25 GB` */
export function sizeText(bytes: number): string {
  return `${Number((bytes / GB).toPrecision(3))} GB`;
}

/** `0.1`, `1,4,16`: ascending GB. @throws Error if it is something else */
export function parseSizes(text: string): readonly number[] {
  const sizes = text.split(",").map(Number);
  if (sizes.some((size) => !(size > 0))) throw new Error(`--sizes ${text}: it has to be GB, as in 1,4,16`);
  return [...sizes].sort((a, b) => a - b);
}
