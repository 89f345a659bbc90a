/** The ways to save a state on jax-js that are compared. */
import { join } from "node:path";
import { jaxBackend } from "@holdfast/backend-webgpu/jax";
import { AsyncCheckpointer } from "@holdfast/core";
import { fsSink } from "@holdfast/sink-fs";
import { removeFully, writeDurably } from "./durable";
import type { Network } from "./network";

/** `naive`: read all, then write it; `background` (boostr's way): read all, then write while training goes on. */
export type GpuWay = "Holdfast" | "naive" | "background";

/** A save that has begun: training goes on, and what still has to be written is being written. */
interface Begun {
  readonly committed: Promise<unknown>;
}

export interface GpuSaver {
  /** Resolves when training may go on. */
  begin(network: Network): Promise<Begun>;
  /** Removes what was saved. */
  remove(): Promise<void>;
}

export async function openGpuSaver(way: GpuWay, dir: string): Promise<GpuSaver> {
  return way === "Holdfast" ? openHoldfast(join(dir, "checkpoints")) : copying(way, join(dir, "copy"));
}

async function openHoldfast(root: string): Promise<GpuSaver> {
  const sink = fsSink(root);
  const checkpointer = await AsyncCheckpointer.open({ backend: jaxBackend(), sink });
  let step = 0;
  return {
    begin: async (network) => {
      const save = checkpointer.save({ step: ++step, state: network.state });
      await save.staged;
      return { committed: save.committed };
    },
    remove: async () => {
      for (const { id } of await sink.list()) await sink.delete(id);
    },
  };
}

function copying(way: GpuWay, path: string): GpuSaver {
  return {
    begin: async (network) => {
      const read = await Promise.all(network.arrays.map((array) => array.ref.data()));
      const copy = Buffer.concat(read.map(bytesOf));
      const committed = writeDurably(path, [copy]);
      if (way === "naive") await committed;
      return { committed };
    },
    remove: () => removeFully(path),
  };
}

function bytesOf({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
