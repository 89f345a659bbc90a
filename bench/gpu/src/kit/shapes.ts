/** The tensors that are saved: lists of names and shapes, the same for us and for the peers. All are F32. */

export interface Named {
  readonly group: string;
  readonly name: string;
  readonly shape: readonly number[];
}

/** `count` equal tensors of so many bytes together. */
export function equalTensors(count: number, bytes: number): readonly Named[] {
  const shape = [Math.max(1, Math.floor(bytes / 4 / count))];
  return Array.from({ length: count }, (_, i) => ({ group: "model", name: `layers.${i}.weight`, shape }));
}

/** GPT-2's widths and vocabulary; the first is for trying things out. */
const MODELS = [
  { upTo: 100e6, width: 64, vocabulary: 1024 },
  { upTo: 2e9, width: 768, vocabulary: 50_257 },
  { upTo: 8e9, width: 1024, vocabulary: 50_257 },
  { upTo: Number.POSITIVE_INFINITY, width: 1600, vocabulary: 50_257 },
];
/** Weights, and Adam's two moments of each. */
const GROUPS = ["model", "exp_avg", "exp_avg_sq"];

/** GPT-2's list of tensors, of as many layers as make about so many bytes with Adam's moments. */
export function gpt2(bytes: number): readonly Named[] {
  const { width, vocabulary } = MODELS.find(({ upTo }) => bytes <= upTo) ?? MODELS[1] ?? never();
  const ends = [...embeddings(width, vocabulary), ...norm("ln_f", width)];
  const perLayer = elements(layer(0, width));
  const layers = Math.max(1, Math.round((bytes / 4 / GROUPS.length - elements(ends)) / perLayer));
  const tensors = [...ends, ...Array.from({ length: layers }, (_, i) => layer(i, width)).flat()];
  return GROUPS.flatMap((group) => tensors.map(([name, shape]) => ({ group, name, shape })));
}

export function bytesOf(tensors: readonly Named[]): number {
  return 4 * elements(tensors.map(({ name, shape }) => [name, shape]));
}

type Shaped = readonly [name: string, shape: readonly number[]];

function elements(tensors: readonly Shaped[]): number {
  return tensors.reduce((sum, [, shape]) => sum + shape.reduce((product, side) => product * side, 1), 0);
}

function embeddings(width: number, vocabulary: number): Shaped[] {
  return [
    ["wte.weight", [vocabulary, width]],
    ["wpe.weight", [1024, width]],
  ];
}

function layer(index: number, width: number): Shaped[] {
  const at = `h.${index}`;
  return [
    ...norm(`${at}.ln_1`, width),
    ...linear(`${at}.attn.c_attn`, width, 3 * width),
    ...linear(`${at}.attn.c_proj`, width, width),
    ...norm(`${at}.ln_2`, width),
    ...linear(`${at}.mlp.c_fc`, width, 4 * width),
    ...linear(`${at}.mlp.c_proj`, 4 * width, width),
  ];
}

function norm(name: string, width: number): Shaped[] {
  return [
    [`${name}.weight`, [width]],
    [`${name}.bias`, [width]],
  ];
}

function linear(name: string, from: number, to: number): Shaped[] {
  return [
    [`${name}.weight`, [from, to]],
    [`${name}.bias`, [to]],
  ];
}

function never(): never {
  throw new Error("there is a model for every size");
}
