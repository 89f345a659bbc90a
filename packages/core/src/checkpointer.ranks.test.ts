/** Several ranks in one process, each with a checkpointer of its own on one memory sink. */
import { afterEach, describe, expect, test } from "vitest";
import type { Backend } from "./backend";
import { AsyncCheckpointer } from "./checkpointer";
import { KiB } from "./chunk-pool";
import { hostBackend } from "./host-backend";
import type { CheckpointerOptions } from "./options";
import { everyMinutes, everySteps } from "./schedule";
import { replicated, tensorParallel, zeroPartitioned } from "./sharding/policies";
import { contents, failing, TestSink } from "./test-kit";

type Rank = AsyncCheckpointer<Float32Array>;
const open: Rank[] = [];
afterEach(async () => {
  for (const rank of open.splice(0)) await rank.close().catch(() => {});
});

type Options = Partial<CheckpointerOptions<Backend<Float32Array>>>;

async function openRank(
  sink: TestSink,
  rank: number,
  worldSize: number,
  options: Options = {},
): Promise<Rank> {
  const checkpointer = await AsyncCheckpointer.open({
    backend: hostBackend() as unknown as Backend<Float32Array>,
    sink,
    runId: "run",
    rank,
    worldSize,
    sharding: replicated(),
    memory: { host: 64 * KiB },
    ...options,
  });
  open.push(checkpointer);
  return checkpointer;
}

function openRanks(sink: TestSink, worldSize: number, options: Options = {}): Promise<Rank[]> {
  return Promise.all(
    Array.from({ length: worldSize }, (_, rank) => openRank(sink, rank, worldSize, options)),
  );
}

const weights = (seed: number, length = 1000) => Float32Array.from({ length }, (_, i) => i * 0.5 + seed);
const stateOf = (seed: number) => ({
  model: { w: weights(seed), b: weights(seed + 1, 7) },
  optimizer: { m: weights(seed + 2) },
});

async function failures(saves: readonly { committed: Promise<unknown> }[]): Promise<unknown[]> {
  return Promise.all(
    saves.map(({ committed }) =>
      committed.then(
        () => "committed",
        (error) => error,
      ),
    ),
  );
}

describe("ranks", () => {
  test("save one checkpoint, whose tensors change as soon as they are staged", async () => {
    const sink = new TestSink();
    const ranks = await openRanks(sink, 4);
    const states = ranks.map(() => stateOf(3));
    const saves = ranks.map((rank, i) =>
      rank.save({ step: 10, state: states[i] ?? stateOf(3), extra: i, rankExtra: { i } }),
    );
    await Promise.all(saves.map(({ staged }) => staged));
    for (const { model, optimizer } of states)
      for (const one of [optimizer.m, model.b, model.w]) one.fill(-1);
    const results = await Promise.all(saves.map(({ committed }) => committed));
    expect(results.map(({ id }) => id)).toEqual(Array(4).fill("step-00000010"));
    expect(await contents(sink.inner)).toEqual(["step-00000010 committed"]);
  });

  test("sweep, list, keep and delete by rank 0 alone", async () => {
    const sink = new TestSink();
    const ranks = await openRanks(sink, 2);
    for (const step of [1, 1])
      await Promise.all(ranks.map((rank) => rank.save({ step, state: stateOf(1) }).committed));
    expect(sink.calls.filter((call) => call === "sweep")).toEqual(["sweep"]);
    expect(sink.calls.filter((call) => call.startsWith("commit"))).toEqual([
      "commit step-00000001",
      "commit step-00000001.r2",
    ]);
    expect(await contents(sink.inner)).toEqual(["step-00000001.r2 committed"]);
  });

  test("one that fails stops the others, is named, and costs one checkpoint", async () => {
    const sink = new TestSink();
    const ranks = await openRanks(sink, 3);
    const broken = ranks[2];
    const first = ranks.map((rank) => {
      if (rank === broken) sink.hooks.write = failing(new Error("EIO"));
      const save = rank.save({ step: 1, state: stateOf(1) });
      return save;
    });
    const reasons = await failures(first);
    sink.hooks.write = undefined;
    for (const reason of reasons) expect(reason).toMatchObject({ message: expect.stringContaining("EIO") });
    const again = await Promise.all(ranks.map((rank) => rank.save({ step: 2, state: stateOf(1) }).committed));
    expect(again.map(({ id }) => id)).toEqual(Array(3).fill("step-00000002"));
    expect(await contents(sink.inner)).toEqual(["step-00000002 committed"]);
  });

  test("one whose state is refused leaves word, and the next save works", async () => {
    const sink = new TestSink();
    const [zero, one] = await openRanks(sink, 2);
    const save = zero?.save({ step: 1, state: stateOf(1) });
    expect(() => one?.save({ step: 1, state: { model: { w: 5 as unknown as Float32Array } } })).toThrow(
      /model: w/,
    );
    await expect(save?.committed).rejects.toMatchObject({
      code: "RANK_FAILED",
      message: expect.stringMatching(/^step 1: rank 1 failed: model: w/),
    });
    await Promise.all([zero, one].map((rank) => rank?.save({ step: 2, state: stateOf(1) }).committed));
    expect(await contents(sink.inner)).toEqual(["step-00000002 committed"]);
  });

  test("rank 0 that cannot even sweep stops the others", async () => {
    const sink = new TestSink();
    const [zero, one] = await openRanks(sink, 2);
    sink.hooks.sweep = failing(new Error("EROFS"));
    const saves = [zero, one].map((rank) => rank?.save({ step: 1, state: stateOf(1) }));
    await expect(saves[0]?.committed).rejects.toMatchObject({ code: "SINK_FAILED" });
    await expect(saves[1]?.committed).rejects.toMatchObject({
      code: "RANK_FAILED",
      message: expect.stringMatching(/^step 1: rank 0 failed: .*EROFS/),
    });
    sink.hooks.sweep = undefined;
    await Promise.all([zero, one].map((rank) => rank?.save({ step: 2, state: stateOf(1) }).committed));
    expect(await contents(sink.inner)).toEqual(["step-00000002 committed"]);
  });

  test("one that is aborted stops the others", async () => {
    const sink = new TestSink();
    const ranks = await openRanks(sink, 2);
    const saves = ranks.map((rank) => rank.save({ step: 1, state: stateOf(1) }));
    saves[1]?.abort();
    const [zero, one] = await failures(saves);
    expect(one).toBe("committed"); // settled, and not rejected: aborted
    expect((await saves[1]?.committed)?.outcome).toBe("aborted");
    expect(zero).toMatchObject({
      code: "RANK_FAILED",
      message: expect.stringContaining("rank 1 failed: its save was aborted"),
    });
  });

  test("one that never saves is named at the deadline", async () => {
    const sink = new TestSink();
    const ranks = await openRanks(sink, 3, { deadline: 50 });
    const reasons = await failures(
      [ranks[0], ranks[2]].map((rank) => ({
        committed: rank?.save({ step: 1, state: stateOf(1) }).committed ?? Promise.resolve(),
      })),
    );
    expect(reasons[0]).toMatchObject({
      code: "RANK_MISSING",
      message: expect.stringContaining("step 1: rank 1 did not finish"),
    });
    expect(reasons[1]).toMatchObject({
      code: "RANK_FAILED",
      message: expect.stringContaining("rank 0 failed: step 1: rank 1 did not finish"),
    });
  });

  test.each([
    ["another step", { step: 2 }, {}, /the step of rank 1 is 2, and that of rank 0 is 1/],
    ["another world size", {}, { worldSize: 3 }, /the world size of rank 1 is 3, and that of rank 0 is 2/],
    ["another policy", {}, { sharding: zeroPartitioned({ stage: 1 }) }, /the policy of rank/],
    ["another digest", {}, { digest: "sha256" }, /the digest of rank/],
    ["another state", { state: { model: { w: weights(1) } } }, {}, /names, dtypes or shapes of rank/],
  ] as const)("one at %s is named", async (_, request, options, message) => {
    const sink = new TestSink();
    const zero = await openRank(sink, 0, 2);
    const one = await openRank(sink, 1, 2, options);
    const saves = [
      zero.save({ step: 1, state: stateOf(1) }),
      one.save({ step: 1, state: stateOf(1), ...request }),
    ];
    const [first, second] = await failures(saves);
    expect(first).toMatchObject({ code: "RANKS_DISAGREE", message: expect.stringMatching(message) });
    expect(second).toMatchObject({ code: "RANK_FAILED", message: expect.stringMatching(message) });
    expect((await contents(sink.inner)).filter((line) => !line.endsWith("in-progress"))).toEqual([]);
  });

  test("are due by the step alone, even while a save is under way on some", async () => {
    const sink = new TestSink();
    const [zero] = await openRanks(sink, 2, { schedule: everySteps(2), deadline: 50 });
    expect([1, 2, 3].map((step) => zero?.due(step))).toEqual([false, true, false]);
    const save = zero?.save({ step: 3, state: stateOf(1) });
    expect([4, 5, 6].map((step) => zero?.due(step))).toEqual([true, false, true]);
    await expect(save?.committed).rejects.toMatchObject({ code: "RANK_MISSING" });
  });

  test.each<[string, Options, RegExp]>([
    ["no runId", { runId: undefined as unknown as string }, /need a runId/],
    ["a runId that is no name", { runId: "../x" }, /runId is/],
    ["no policy", { sharding: undefined as unknown as ReturnType<typeof replicated> }, /need a sharding/],
    ["a rank that is none", { rank: 2 }, /rank is 2, of 2 ranks/],
    ["whenBusy skip", { whenBusy: "skip" }, /whenBusy has to be "wait"/],
    ["a schedule by time", { schedule: everyMinutes(1) }, /everyMinutes\(1\) goes by time/],
    ["a sink of one rank", { sink: new TestSink({ ranks: false }) }, /takes one rank/],
  ])("are refused with %s", async (_, options, message) => {
    await expect(openRank(new TestSink(), 0, 2, options)).rejects.toThrow(message);
  });
});

test("tensor-parallel slices of uneven lengths are one checkpoint", async () => {
  const sink = new TestSink();
  const ranks = await openRanks(sink, 2, { sharding: tensorParallel({ splitDims: { w: 0 } }) });
  const saves = ranks.map((rank, i) =>
    rank.save({ step: 1, state: { model: { w: weights(i, 3 + i), b: weights(9, 2) } } }),
  );
  await Promise.all(saves.map(({ committed }) => committed));
  expect(await contents(sink.inner)).toEqual(["step-00000001 committed"]);
});
