// A state whose every byte follows from its step, shared by the saving child and the test that checks on it.

/**
 * Two groups, tensors of several sizes: some span many chunks, some share one. The first is large enough for
 * its file to be written past the page cache.
 */
export function blankState() {
  return {
    model: {
      embedding: new Float32Array(300_000),
      layers: [0, 1, 2].map(() => ({ weight: new Float32Array(20_000), bias: new Float32Array(33) })),
    },
    optimizer: {
      first: new Float64Array(40_001),
      half: { data: new Uint16Array(7), dtype: /** @type {const} */ ("F16"), shape: [7] },
      empty: new Float32Array(0),
    },
  };
}

/** @typedef {ReturnType<typeof blankState>} SavedState */

export function fillState(/** @type {SavedState} */ state, /** @type {number} */ step) {
  for (const [index, array] of arraysOf(state).entries()) {
    for (let i = 0; i < array.length; i++) array[i] = valueAt(step, index, i);
  }
}

/** As the next training step would, the last tensor first. */
export function overwrite(/** @type {SavedState} */ state) {
  for (const array of arraysOf(state).reverse()) array.fill(0xee);
}

/** Whether `state` is not exactly what `fillState(state, step)` makes it. */
export function stateDiffers(/** @type {SavedState} */ state, /** @type {number} */ step) {
  return arraysOf(state).some((array, index) => array.some((value, i) => value !== valueAt(step, index, i)));
}

function arraysOf(/** @type {SavedState} */ { model, optimizer }) {
  const layers = model.layers.flatMap(({ weight, bias }) => [weight, bias]);
  return [model.embedding, ...layers, optimizer.first, optimizer.half.data, optimizer.empty];
}

/** Whole numbers below 2^16, which every dtype here holds exactly. */
function valueAt(/** @type {number} */ step, /** @type {number} */ index, /** @type {number} */ i) {
  return (Math.imul(i + 1, 2654435761) ^ Math.imul(step, 40503) ^ (index * 977)) & 0xffff;
}
