import { type numpy as np, tree } from "@jax-js/jax";
import { beforeAll, expect, test } from "vitest";
import { ratesAt } from "./adamw";
import { DataOrder } from "./data-order";
import { openJax } from "./jax";
import { readMnist } from "./mnist";
import { accuracy, BATCH_SIZE, initialState, type State, trainStep, upload } from "./model";

beforeAll(openJax);

const { training, test: unseen } = await readMnist();

async function train(seed: number, steps: number): Promise<{ state: State; losses: number[] }> {
  const order = new DataOrder(training.count, BATCH_SIZE, { seed, epoch: 0, batch: 0 });
  let state = initialState(seed);
  const losses: number[] = [];
  for (let step = 0; step < steps; step++) {
    const result = trainStep(state, upload(training, order.take()), ratesAt(step));
    state = result.state;
    losses.push(...(await result.loss.data()));
  }
  return { state, losses };
}

const bytesOf = async (state: State) => {
  const tensors = tree
    .leaves<np.Array>(state)
    .map(async (tensor) => new Uint8Array((await tensor.data()).buffer));
  return Buffer.concat(await Promise.all(tensors));
};

test("it learns: the loss falls, and digits never seen are told apart", async () => {
  const { state, losses } = await train(1, 25);
  expect(losses[0]).toBeGreaterThan(2);
  expect(Math.max(...losses.slice(-5))).toBeLessThan(1);
  const few = { count: 1500, images: unseen.images, labels: unseen.labels };
  expect(await accuracy(state.model, few)).toBeGreaterThan(0.7);
  tree.dispose(state);
});

test("the same seed gives the same bytes, another one does not", async () => {
  const [one, again, other] = [await train(7, 6), await train(7, 6), await train(8, 6)];
  expect(again.losses).toEqual(one.losses);
  const [bytes, againBytes, otherBytes] = await Promise.all(
    [one, again, other].map(({ state }) => bytesOf(state)),
  );
  expect(bytes?.length).toBe(3 * 4 * (784 * 256 + 256 + 256 * 10 + 10));
  expect(againBytes?.equals(bytes ?? Buffer.alloc(0))).toBe(true);
  expect(otherBytes?.equals(bytes ?? Buffer.alloc(0))).toBe(false);
});
