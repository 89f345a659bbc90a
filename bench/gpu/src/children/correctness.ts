/**
 * Checkpoints, each saved while a kernel overwrites the tensors again and again, are read back and compared with
 * what the tensors held when `save` was called: bit for bit, in host memory and in device memory.
 */
import type { CudaTensor } from "@holdfast/backend-cuda";
import type { Committed, Loaded, Save } from "@holdfast/core";
import { answer } from "../../../src/kit/child";
import { Contents } from "../kit/contents";
import { allocateState, type DeviceState, type StateOptions } from "../kit/device-state";
import { addressOf } from "../kit/driver";
import { type Mode, Saver } from "../kit/saver";
import { Trainer } from "../kit/trainer";

export interface CorrectnessOptions extends StateOptions {
  readonly mode: Mode;
  readonly checkpoints: number;
}

/** Steps that are saved have numbers below this, and those that overwrite them above. */
const NOISE = 1000;

await answer<CorrectnessOptions>(async ({ dir, mode, checkpoints, ...shape }) => {
  const trainer = new Trainer();
  const device = allocateState(trainer, shape);
  const saver = await Saver.open(dir, trainer, mode);
  const contents = new Contents(device, checkpoints);
  let overwrites = 0;
  /** Begins when the tensors may change, and goes on until the checkpoint is committed, or the save has failed. */
  const overwriteDuring = async (save: Save): Promise<Committed> => {
    let over = false;
    const committed = saver.committed(save).finally(() => {
      over = true;
    });
    committed.catch(() => {}); // whoever awaits it below is told
    await save.staged;
    do {
      trainer.train(device.tensors, NOISE + ++overwrites);
      await trainer.idle();
    } while (!over);
    return committed;
  };
  for (let step = 1; step <= checkpoints; step++) {
    trainer.train(device.tensors, step); // no waiting: the save is queued behind it
    const { id } = await overwriteDuring(saver.begin(device.state));
    const loaded = await saver.checkpointer.load({ id });
    compareLoaded(loaded, device, contents, step);
    await saver.checkpointer.restore(device.state, { id });
    for (const [index, tensor] of device.tensors.entries()) {
      contents.check(`${id}, restored: tensor ${index}`, readTensor(trainer, tensor), step, index);
    }
    await saver.remove({ id });
  }
  await saver.close();
  return { identical: checkpoints, overwrites };
});

function compareLoaded(
  { id, state }: Loaded,
  { state: device }: DeviceState,
  contents: Contents,
  step: number,
): void {
  let index = 0;
  for (const [group, tensors] of Object.entries(device)) {
    for (const name of Object.keys(tensors)) {
      const tensor = state[group]?.get(name);
      if (!tensor) throw new Error(`${id} has no ${group}.${name}`);
      contents.check(`${id}, loaded: ${group}.${name}`, tensor.data, step, index++);
    }
  }
}

function readTensor({ cuda, stream }: Trainer, { ptr, byteLength }: CudaTensor): Uint32Array {
  const words = new Uint32Array(byteLength / 4);
  cuda.call("cuMemcpyDtoHAsync_v2", addressOf(words), ptr, byteLength, stream);
  cuda.call("cuStreamSynchronize", stream);
  return words;
}
