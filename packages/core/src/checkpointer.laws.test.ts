import fc from "fast-check";
import { expect, test } from "vitest";
import { AsyncCheckpointer } from "./checkpointer";
import { KiB, MiB } from "./chunk-pool";
import { hostBackend } from "./host-backend";
import type { HostTensor } from "./host-tensor";
import { memorySink } from "./memory-sink";
import { describeLeaves, isTensor, leavesOf, type State, states, type Tree } from "./state-kit";
import { watchPools } from "./test-kit";

const pools = watchPools();

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
