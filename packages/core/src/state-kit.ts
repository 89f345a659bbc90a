/** For tests of laws: any state that can be saved, and what it is to be equal to. */
import fc from "fast-check";
import { anyBytes } from "./conformance/bytes";
import type { HostTensor } from "./host-tensor";
import { isSafeName } from "./paths";
import { byteLength, DTYPE_BITS, DTYPES } from "./tensor";

export type Tree = HostTensor | { readonly [name: string]: Tree } | readonly Tree[];
export type State = Readonly<Record<string, { readonly [name: string]: Tree }>>;

/** Scalars, empty tensors, and some that are larger than the smallest chunk. */
const shapes = fc.oneof(
  fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 4 }),
  fc.tuple(fc.integer({ min: 0, max: 6_000 })),
);

const tensors: fc.Arbitrary<HostTensor> = fc
  .record({ dtype: fc.constantFrom(...DTYPES), shape: shapes, seed: fc.nat() })
  // Elements of less than a byte come by fours, which is a whole number of bytes in F4 and F6.
  .map(({ shape, ...rest }) => ({ ...rest, shape: DTYPE_BITS[rest.dtype] < 8 ? [...shape, 4] : shape }))
  .map(({ dtype, shape, seed }) => ({ dtype, shape, data: anyBytes(byteLength({ dtype, shape }), seed) }));

const names = fc
  .oneof(
    fc.string({ unit: "binary", maxLength: 12 }), // any scalar values of Unicode, controls and unassigned ones too
    fc.string({ unit: "grapheme", maxLength: 12 }),
    fc.constantFrom("__proto__", "constructor", "0", "", ".", "a.b", "a/b", "\u0000", "toJSON"),
  )
  .filter((name) => name !== "__metadata__");

/** Trees over a few tensors, so that some are tied. */
const groupsOf = (leaves: readonly HostTensor[]) =>
  fc.letrec<{ tree: Tree; group: { readonly [name: string]: Tree } }>((tie) => ({
    tree: fc.oneof(
      { depthSize: "small", withCrossShrink: true },
      fc.constantFrom(...leaves),
      tie("group"),
      fc.array(tie("tree"), { maxLength: 3 }),
    ),
    group: fc.dictionary(names, tie("tree"), { maxKeys: 4 }),
  })).group;

const groupNames = fc
  .oneof(fc.constantFrom("model", "optimizer", "ema", "rng"), fc.stringMatching(/^\w[\w.-]{0,20}$/))
  .filter(isSafeName);

export const states: fc.Arbitrary<State> = fc
  .tuple(
    fc.array(tensors, { minLength: 1, maxLength: 6 }),
    fc.uniqueArray(groupNames, { maxLength: 4, selector: (name) => name.toLowerCase() }),
  )
  .chain(([leaves, groups]) =>
    fc.record(Object.fromEntries(groups.map((group) => [group, groupsOf(leaves)]))),
  )
  .filter((state) => Object.values(state).every(hasDistinctNames));

function hasDistinctNames(group: Tree): boolean {
  const paths = leavesOf(group).map(([path]) => path);
  return new Set(paths).size === paths.length;
}

export function leavesOf(
  tree: Tree,
  path: readonly string[] = [],
): readonly (readonly [string, HostTensor])[] {
  if (isTensor(tree)) return [[path.join("."), tree]];
  return Object.entries(tree).flatMap(([name, child]) => leavesOf(child, [...path, name]));
}

export function isTensor(tree: Tree): tree is HostTensor {
  return "data" in tree && ArrayBuffer.isView(tree.data);
}

/** All that a tensor is, as text. */
function asText({ dtype, shape, data }: HostTensor): string {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return `${dtype} ${shape.join()} ${new TextDecoder("windows-1252").decode(bytes)}`;
}

/** Each leaf's path, what it is, and the path of the first leaf that is the same tensor. */
export function describeLeaves(leaves: readonly (readonly [string, HostTensor])[]) {
  const first = new Map<HostTensor, string>();
  return leaves.map(([path, tensor]) => {
    first.set(tensor, first.get(tensor) ?? path);
    return { path, tensor: asText(tensor), sameAs: first.get(tensor) };
  });
}
