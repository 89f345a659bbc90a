import type { CudaTensor } from "@holdfast/backend-cuda";
import { bytesOf, equalTensors, gpt2, type Named } from "./shapes";
import type { Trainer } from "./trainer";

/** Either so many equal tensors, or those of GPT-2: `bytes` in all. */
export interface StateOptions {
  readonly bytes: number;
  /** Default: GPT-2's. */
  readonly tensors?: number;
}

export type CudaState = Readonly<Record<string, Readonly<Record<string, CudaTensor>>>>;

export interface DeviceState {
  readonly state: CudaState;
  /** In the order of the state. */
  readonly tensors: readonly CudaTensor[];
  readonly bytes: number;
}

/** Where tensors begin, and what is left free between them: two neighbours are never one copy. */
const ALIGNMENT = 512;

export function namedTensors({ bytes, tensors }: StateOptions): readonly Named[] {
  return tensors === undefined ? gpt2(bytes) : equalTensors(tensors, bytes);
}

/** Allocates a state on the device, and fills it by a first step of training. */
export function allocateState(trainer: Trainer, options: StateOptions): DeviceState {
  const named = namedTensors(options);
  const sizes = named.map((one) => bytesOf([one]));
  const places = sizes.map((size) => (Math.ceil(size / ALIGNMENT) + 1) * ALIGNMENT);
  let ptr = trainer.allocate(places.reduce((sum, place) => sum + place, 0));
  const state: Record<string, Record<string, CudaTensor>> = {};
  const tensors: CudaTensor[] = [];
  for (const [i, { group, name, shape }] of named.entries()) {
    const tensor = { ptr, byteLength: sizes[i] ?? 0, dtype: "F32", shape } as const;
    state[group] = { ...state[group], [name]: tensor };
    tensors.push(tensor);
    ptr += BigInt(places[i] ?? 0);
  }
  trainer.train(tensors, 0);
  trainer.synchronize();
  return { state, tensors, bytes: bytesOf(named) };
}
