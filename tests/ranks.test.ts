/** Ranks as processes on one root: each case is one that dies, hangs or disagrees at a given point of a save. */
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Sink } from "@holdfast/core";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { killAll, type RankProcess } from "./rank-process";
import {
  checkedSteps,
  endings,
  expectRestores,
  KINDS,
  type LaunchOptions,
  launch,
  order,
  SHORT_DEADLINE,
  sinkOf,
} from "./ranks-kit";

/** What each says that waited for a rank which is missing: rank 0 decides, and the others tell what it said. */
const missing = (rank: number) =>
  expect.stringMatching(
    new RegExp(
      `^failed 1 (RANK_MISSING|RANK_FAILED step 1: rank 0 failed:) step 1: rank ${rank} did not finish within`,
    ),
  );

describe.each(KINDS)("ranks that write %s", (kind) => {
  let root: string;
  let sink: Sink;
  let where: LaunchOptions;
  /** As `where`, for ranks one of which is going to be missed. */
  let impatient: LaunchOptions;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), "holdfast-ranks-"));
    where = { root, kind };
    impatient = { ...where, deadline: SHORT_DEADLINE };
    sink = sinkOf(where);
  });
  afterEach(async () => {
    await killAll();
    await sink.close();
    await rm(root, { recursive: true, force: true });
  });

  /** The same ranks go on: what failed before is no hindrance. */
  async function expectNextSave(ranks: readonly RankProcess[], step = 2): Promise<void> {
    order(ranks, `save ${step}`);
    const id = `step-${String(step).padStart(8, "0")}`;
    expect(await endings(ranks)).toEqual(ranks.map(() => `committed ${step} ${id}`));
    expect(ranks.map((rank) => rank.errors)).toEqual(ranks.map(() => ""));
  }

  /** After a launch of fewer ranks the root is as if nothing had happened, but for what was committed. */
  async function expectNextRun(committed: readonly number[]): Promise<void> {
    expect(await checkedSteps(sink)).toEqual(committed);
    await killAll();
    const next = await launch(3, { ...where, policy: "tensorParallel" });
    await expectNextSave(next);
    expect((await readdir(root)).filter((name) => name.startsWith(".attempt-"))).toEqual([]);
    expect(await checkedSteps(sink)).toEqual([...committed, 2]);
    for (const step of [...committed, 2]) await expectRestores(sink, step, 2, "zero");
  }

  test.each([
    [4, "zero"],
    [8, "mesh"],
  ] as const)("%i save one state that changes meanwhile (%s)", async (count, policy) => {
    const ranks = await launch(count, { ...where, policy });
    for (const step of [1, 2]) await expectNextSave(ranks, step);
    expect(await checkedSteps(sink)).toEqual([1, 2]);
    await expectRestores(sink, 1, 3, "mesh");
    await expectRestores(sink, 2, 1, "replicated");
  });

  test.each(["begin", "writing", "finish"])("one is killed at %s", async (point) => {
    const ranks = await launch(4, impatient);
    const [zero, one, two, three] = ranks as [RankProcess, RankProcess, RankProcess, RankProcess];
    order([zero, one, three], "save 1");
    await two.haltsAt(point, "save 1");
    await two.kill();
    const said = await endings([zero, one, three]);
    expect(said).toEqual(said.map(() => missing(2)));
    await expectNextRun([]);
  });

  test("one is killed when it has finished, and is not missed", async () => {
    const ranks = await launch(4, where);
    const [zero, one, two, three] = ranks as [RankProcess, RankProcess, RankProcess, RankProcess];
    await two.haltsAt("finished", "save 1");
    await two.kill();
    order([zero, one, three], "save 1");
    expect(await endings([zero, one, three])).toEqual(Array(3).fill("committed 1 step-00000001"));
    await expectNextRun([1]);
  });

  test("rank 0 is killed before it commits", async () => {
    const [zero, ...others] = (await launch(4, impatient)) as [RankProcess, ...RankProcess[]];
    order(others, "save 1");
    await zero.haltsAt("commit", "save 1");
    await zero.kill();
    const said = await endings(others);
    const rule = /^failed 1 COMMIT_UNCERTAIN step 1: every rank has finished, and rank 0 does not commit it/;
    expect(said).toEqual(said.map(() => expect.stringMatching(rule)));
    await expectNextRun([]);
  });

  test("rank 0 is killed right after the commit", async () => {
    const [zero, ...others] = (await launch(4, where)) as [RankProcess, ...RankProcess[]];
    order(others, "save 1");
    await zero.haltsAt("committed", "save 1");
    await zero.kill();
    expect(await endings(others)).toEqual(Array(3).fill("committed 1 step-00000001"));
    await expectNextRun([1]);
  });

  test.each(["begin", "writing", "finish"])(
    "one hangs at %s, and wakes up when the others have gone on",
    async (point) => {
      const ranks = await launch(4, impatient);
      const [zero, one, two, three] = ranks as [RankProcess, RankProcess, RankProcess, RankProcess];
      order([zero, one, three], "save 1");
      await two.haltsAt(point, "save 1");
      two.freeze();
      const said = await endings([zero, one, three]);
      expect(said).toEqual(said.map(() => missing(2)));

      order([one, three], "save 2");
      await zero.haltsAt("finish", "save 2");
      order([two], "go");
      two.thaw();
      expect(await endings([two])).toEqual([expect.stringMatching(/^failed 1 SINK_FAILED .*is over/)]);
      order([two], "save 2");
      order([zero], "go");
      expect(await endings(ranks)).toEqual(Array(4).fill("committed 2 step-00000002"));
      expect(await checkedSteps(sink)).toEqual([2]);
      await expectRestores(sink, 2, 3, "tensorParallel");
    },
  );

  test("one that hung in an earlier run wakes up in the middle of the next", async () => {
    const late = await launch(4, impatient);
    const [zero, one, two, three] = late as [RankProcess, RankProcess, RankProcess, RankProcess];
    order([zero, one, three], "save 1");
    await two.haltsAt("finish", "save 1");
    two.freeze();
    await endings([zero, one, three]);
    await Promise.all([zero, one, three].map((rank) => rank.kill()));

    const next = await launch(2, { ...where, policy: "zero" });
    order(next.slice(1), "save 2");
    await next[0]?.haltsAt("commit", "save 2");
    order([two], "go");
    two.thaw();
    expect(await endings([two])).toEqual([expect.stringMatching(/^failed 1 SINK_FAILED /)]);
    order(next.slice(0, 1), "go");
    expect(await endings(next)).toEqual(Array(2).fill("committed 2 step-00000002"));
    await expectNextSave(next, 3);
    expect(await checkedSteps(sink)).toEqual([2, 3]);
    await expectRestores(sink, 3, 4, "replicated");
  });

  test("one is at another step", async () => {
    const ranks = await launch(4, where);
    order(ranks.slice(0, 3), "save 1");
    order(ranks.slice(3), "save 7");
    const rule = "RANKS_DISAGREE step 1: the step of rank 3 is 7, and that of rank 0 is 1";
    const [first, ...others] = await endings(ranks);
    expect(first).toContain(`failed 1 ${rule}`);
    expect(others).toEqual(
      others.map(() => expect.stringMatching(/rank 0 failed: step 1: the step of rank 3 is 7/)),
    );
    await expectNextSave(ranks, 8);
    expect(await checkedSteps(sink)).toEqual([8]);
    await expectRestores(sink, 8, 2, "mesh");
  });

  test("one believes in another world size", async () => {
    const ranks = await launch(4, where, (rank) => (rank === 1 ? { worldSize: 5 } : {}));
    order(ranks, "save 1");
    const rule = "step 1: the world size of rank 1 is 5, and that of rank 0 is 4";
    const [first, ...others] = await endings(ranks);
    expect(first).toBe(`failed 1 RANKS_DISAGREE ${rule}`);
    expect(others).toEqual(others.map(() => `failed 1 RANK_FAILED step 1: rank 0 failed: ${rule}`));
    await expectNextRun([]);
  });

  test("an old run has left every kind of remains", async () => {
    const ranks = await launch(4, where);
    const points = ["commit", "begun", "writing", "finished"];
    // Rank 0 never comes to commit; it waits for the others.
    order(ranks.slice(0, 1), "save 1");
    await Promise.all(ranks.slice(1).map((rank, i) => rank.haltsAt(points[i + 1] ?? "", "save 1")));
    await killAll();
    expect(await readdir(root)).toContainEqual(expect.stringMatching(/^\.attempt-run-/));
    await expectNextRun([]);
  });

  test("two runs are on one root: the second is refused at once, and the first goes on", async () => {
    const first = await launch(4, where);
    const second = await launch(4, where);
    order(first.slice(1), "save 1");
    await first[0]?.haltsAt("finish", "save 1");
    order(second, "save 1");
    const [zero, ...others] = await endings(second);
    const rule = `is being written to by pid ${first[0]?.pid} `;
    expect(zero).toContain("failed 1 ROOT_LOCKED");
    expect(zero).toContain(rule);
    expect(others).toEqual(
      others.map(() => expect.stringMatching(`^failed 1 RANK_FAILED step 1: rank 0 failed: .*${rule}`)),
    );
    order(first.slice(0, 1), "go");
    expect(await endings(first)).toEqual(Array(4).fill("committed 1 step-00000001"));
    await expectNextSave(first);
    expect(await checkedSteps(sink)).toEqual([1, 2]);
    await expectRestores(sink, 2, 3, "zero");
  });
});
