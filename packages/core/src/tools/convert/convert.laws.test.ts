import fc from "fast-check";
import { expect, test } from "vitest";
import { AsyncCheckpointer } from "../../checkpointer";
import { KiB, MiB } from "../../chunk-pool";
import { hostBackend } from "../../host-backend";
import { memorySink } from "../../memory-sink";
import type { Loaded } from "../../restore";
import { describeLeaves, states } from "../../state-kit";
import { turns, watchPools } from "../../test-kit";
import { verifyCheckpoint } from "../verify";
import { convertCheckpoint } from "./convert";

const pools = watchPools();

/** What writes, what converts and what converts back: each has room for the blocks of the one before. */
const budgets = fc.constantFrom(
  [16 * KiB, 8 * KiB, 8 * KiB],
  [16 * KiB, 12 * KiB, MiB],
  [64 * KiB, 64 * KiB, 8 * KiB],
  [16 * KiB, MiB, MiB],
  [MiB, 2 * MiB, 3 * MiB],
);
const layouts = fc.record({
  maxShardBytes: fc.oneof(fc.integer({ min: 1, max: 20_000 }), fc.constant(5e9)),
  digest: fc.constantFrom("xxh64" as const, "sha256" as const),
});
const setups = fc
  .tuple(budgets, fc.tuple(layouts, layouts, layouts))
  .map(([hosts, all]) => all.map((layout, i) => ({ ...layout, memory: { host: hosts[i] ?? 0 } })));

/** All that lies in a checkpoint, in an order that no layout has a say in. */
function contentOf({ state, step, training, metrics, extra }: Loaded) {
  const leaves = Object.entries(state).flatMap(([group, tensors]) =>
    [...tensors]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, tensor]) => [`${group}/${name}`, tensor] as const),
  );
  return { groups: Object.keys(state), tensors: describeLeaves(leaves), step, training, metrics, extra };
}

test("any state is converted there and back bit for bit, however it is laid out", async () => {
  await fc.assert(
    fc.asyncProperty(states, setups, async (state, [first, there, back]) => {
      const [source, elsewhere, home] = [memorySink(), memorySink(), memorySink()];
      await using writer = await AsyncCheckpointer.open({ backend: hostBackend(), sink: source, ...first });
      const training = { epoch: 2, learningRate: 1e-3, metadata: { run: "a" } };
      await writer.save({ step: 9, state, training, metrics: { loss: 0.1 }, extra: { seed: [1] } }).committed;

      await convertCheckpoint({ sink: source, id: "step-00000009" }, { sink: elsewhere, id: "copy" }, there);
      const from = { sink: elsewhere, id: "copy" };
      const converted = await convertCheckpoint(from, { sink: home }, back);
      await turns();
      for (const { lentBytes } of pools.all) expect(lentBytes).toBe(0);

      await using reader = await AsyncCheckpointer.open({ backend: hostBackend(), sink: home });
      const content = contentOf(await reader.load({ step: 9 }));
      expect(content).toEqual(contentOf(await writer.load({ step: 9 })));
      expect(await verifyCheckpoint(home, "step-00000009")).toMatchObject({ verified: true, problems: [] });
      expect(converted).toMatchObject({
        id: "step-00000009",
        groups: content.groups,
        leftOut: [],
        cast: {},
        droppedTies: [],
        verified: true,
      });
      const distinct = new Set(content.tensors.map(({ sameAs }) => sameAs));
      expect(converted.tensors).toBe(distinct.size);
    }),
    { numRuns: 100 },
  );
});
