import fc from "fast-check";
import { expect, test } from "vitest";
import { AsyncCheckpointer } from "./checkpointer";
import { KiB, MiB } from "./chunk-pool";
import { anyBytes } from "./conformance/bytes";
import { hostBackend } from "./host-backend";
import type { HostTensor } from "./host-tensor";
import { memorySink } from "./memory-sink";
import { isSafeName } from "./paths";
import { byteLength, DTYPE_BITS, DTYPES } from "./tensor";
import { watchPools } from "./test-kit";

const pools = watchPools();

type Tree = HostTensor | { readonly [name: string]: Tree } | readonly Tree[];
type State = Readonly<Record<string, { readonly [name: string]: Tree }>>;

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

const states: fc.Arbitrary<State> = fc
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

function leavesOf(tree: Tree, path: readonly string[] = []): readonly (readonly [string, HostTensor])[] {
  if (isTensor(tree)) return [[path.join("."), tree]];
  return Object.entries(tree).flatMap(([name, child]) => leavesOf(child, [...path, name]));
}

function isTensor(tree: Tree): tree is HostTensor {
  return "data" in tree && ArrayBuffer.isView(tree.data);
}

/** The same state of other tensors: zeros in the place of each, tied as they were. */
function zeroed(state: State): State {
  const zeros = new Map<HostTensor, HostTensor>();
  const group = (trees: State[string]) =>
    Object.fromEntries(Object.entries(trees).map(([name, tree]) => [name, again(tree)]));
  const again = (tree: Tree): Tree => {
    if (Array.isArray(tree)) return tree.map(again);
    if (!isTensor(tree)) return group(tree as State[string]);
    const zero = zeros.get(tree) ?? { ...tree, data: new Uint8Array(tree.data.byteLength) };
    zeros.set(tree, zero);
    return zero;
  };
  return Object.fromEntries(Object.entries(state).map(([name, trees]) => [name, group(trees)]));
}

const setups = fc.record({
  host: fc.oneof(fc.constant(4 * KiB), fc.integer({ min: 4 * KiB, max: MiB })),
  device: fc.constantFrom(0, MiB, "auto" as const),
  maxShardBytes: fc.oneof(fc.integer({ min: 1, max: 20_000 }), fc.constant(5e9)),
  digest: fc.constantFrom("xxh64" as const, "sha256" as const),
});

/** All that a tensor is, as text. */
function asText({ dtype, shape, data }: HostTensor): string {
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return `${dtype} ${shape.join()} ${new TextDecoder("windows-1252").decode(bytes)}`;
}

/** Each leaf's path, what it is, and the path of the first leaf that is the same tensor. */
function describeLeaves(leaves: readonly (readonly [string, HostTensor])[]) {
  const first = new Map<HostTensor, string>();
  return leaves.map(([path, tensor]) => {
    first.set(tensor, first.get(tensor) ?? path);
    return { path, tensor: asText(tensor), sameAs: first.get(tensor) };
  });
}

test("any state comes back bit for bit, restored and loaded, within any budget", async () => {
  await fc.assert(
    fc.asyncProperty(states, setups, async (state, { host, device, ...rest }) => {
      const memory = { host, device };
      const options = { backend: hostBackend(), sink: memorySink(), memory, ...rest };
      await using checkpointer = await AsyncCheckpointer.open(options);
      await checkpointer.save({ step: 1, state }).committed;
      const expected = describeLeaves(leavesOf(state));

      const zeros = zeroed(state);
      const resumed = await checkpointer.restore(zeros);
      expect(describeLeaves(leavesOf(resumed?.state ?? {}))).toEqual(expected);

      const loaded = await checkpointer.load({ step: 1 });
      expect(Object.keys(loaded.state)).toEqual(Object.keys(state));
      // By the state's own paths: files have an order of their own.
      const loadedLeaves = Object.entries(state).flatMap(([group, tree]) =>
        leavesOf(tree).map(([name]) => [`${group}.${name}`, loaded.state[group]?.get(name)] as const),
      );
      const present = loadedLeaves.flatMap(([path, tensor]) => (tensor ? [[path, tensor] as const] : []));
      expect(describeLeaves(present)).toEqual(expected);
      const sizes = Object.values(loaded.state).map(({ size }) => size);
      expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(expected.length);

      expect(pools.lentBytes).toBe(0);
      expect(pools.peakBytes).toBeGreaterThan(0);
      expect(pools.peakBytes).toBeLessThanOrEqual(host);
    }),
    { numRuns: 150 },
  );
});
