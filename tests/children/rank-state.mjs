// What one rank of several holds of a state whose every byte follows from its step, shared by the saving ranks and the
// tests that check on them.
import { mesh, replicated, shard, tensorParallel, zeroPartitioned } from "@holdfast/core";

/** Rows and columns; a dimension that no number of ranks here divides, tensors that are cut and tensors that are not. */
const TENSORS = [
  { group: "model", name: "embedding", rows: 1501, columns: 101, cut: 0 },
  { group: "model", name: "layers.0.weight", rows: 67, columns: 301, cut: 1 },
  { group: "model", name: "layers.1.weight", rows: 67, columns: 301, cut: 1 },
  { group: "model", name: "bias", rows: 1, columns: 33 },
  { group: "optimizer", name: "embedding.m", rows: 1501, columns: 101, cut: 0 },
  { group: "optimizer", name: "layers.0.weight.m", rows: 67, columns: 301, cut: 1 },
  { group: "optimizer", name: "layers.1.weight.m", rows: 67, columns: 301, cut: 1 },
  { group: "optimizer", name: "bias.m", rows: 1, columns: 33 },
  { group: "optimizer", name: "half", rows: 1, columns: 7, half: true },
  { group: "optimizer", name: "empty", rows: 0, columns: 5 },
];

/** By the name of a parameter, as `tensorParallel` wants it. */
const SPLIT_DIMS = { embedding: 0, "layers.0.weight": 1, "layers.1.weight": 1 };

/** @typedef {"replicated" | "zero" | "tensorParallel" | "mesh"} Policy */
/** @typedef {{ rank: number, worldSize: number, policy: Policy }} Place */
/** @typedef {{ data: Float32Array | Uint16Array, dtype: "F32" | "F16", shape: readonly number[] }} Tensor */

export const POLICIES = /** @type {const} */ (["replicated", "zero", "tensorParallel", "mesh"]);

/** How the state lies, as `sharding`. */
export function shardingOf(/** @type {Place} */ { policy, worldSize }) {
  if (policy === "replicated") return replicated();
  if (policy === "zero") return zeroPartitioned({ stage: 1 });
  if (policy === "tensorParallel") return tensorParallel({ splitDims: SPLIT_DIMS });
  const { dp, tp } = meshOf(worldSize);
  const dims = new Map(TENSORS.map(({ name, cut }) => [name, cut]));
  return mesh({
    shape: { dp, tp },
    place: ({ name }) => {
      const dim = dims.get(name);
      return dim === undefined ? {} : { tp: shard(dim) };
    },
  });
}

export class RankState {
  /** For `save` and `restore`. @type {Record<string, Record<string, Tensor>>} */
  groups = { model: {}, optimizer: {} };
  /** @type {{ array: Float32Array | Uint16Array, valueAt: (step: number, i: number) => number }[]} */
  #held = [];

  constructor(/** @type {Place} */ place) {
    TENSORS.forEach((tensor, index) => {
      if (place.policy === "zero" && tensor.group === "optimizer" && index % place.worldSize !== place.rank)
        return;
      const { rows, columns } = tensor;
      const [height, width] = [slice(tensor, 0, place), slice(tensor, 1, place)];
      const length = height.length * width.length;
      const data = tensor.half ? new Uint16Array(length) : new Float32Array(length);
      const shape = rows === 1 ? [width.length] : [height.length, width.length];
      const group = this.groups[tensor.group] ?? {};
      group[tensor.name] = { data, dtype: tensor.half ? "F16" : "F32", shape };
      const inWhole = (/** @type {number} */ i) =>
        (height.start + Math.floor(i / width.length)) * columns + width.start + (i % width.length);
      this.#held.push({ array: data, valueAt: (step, i) => wholeValue(step, index, inWhole(i)) });
    });
  }

  fill(/** @type {number} */ step) {
    for (const { array, valueAt } of this.#held)
      for (let i = 0; i < array.length; i++) array[i] = valueAt(step, i);
  }

  /** As the next training step would, the last tensor first. */
  overwrite() {
    for (const { array } of [...this.#held].reverse()) array.fill(0xee);
  }

  /** Whether it is not exactly what `fill(step)` makes it. */
  differs(/** @type {number} */ step) {
    return this.#held.some(({ array, valueAt }) => array.some((value, i) => value !== valueAt(step, i)));
  }
}

/** @returns {{ start: number, length: number }} of what a rank holds along one dimension */
function slice(
  /** @type {{ rows: number, columns: number, cut?: number }} */ { rows, columns, cut },
  /** @type {number} */ dim,
  /** @type {Place} */ { policy, rank, worldSize },
) {
  const whole = dim === 0 ? rows : columns;
  if (cut !== dim || policy === "replicated" || policy === "zero") return { start: 0, length: whole };
  const of = policy === "mesh" ? meshOf(worldSize).tp : worldSize;
  const at = rank % of; // of a mesh the last axis counts fastest
  const [each, longer] = [Math.floor(whole / of), whole % of];
  return { start: at * each + Math.min(at, longer), length: each + (at < longer ? 1 : 0) };
}

function meshOf(/** @type {number} */ worldSize) {
  const dp = worldSize % 2 === 0 ? 2 : 1;
  return { dp, tp: worldSize / dp };
}

/** Whole numbers below 2^16, which every dtype here holds exactly. */
function wholeValue(/** @type {number} */ step, /** @type {number} */ index, /** @type {number} */ i) {
  return (Math.imul(i + 1, 2654435761) ^ Math.imul(step, 40503) ^ (index * 977)) & 0xffff;
}
