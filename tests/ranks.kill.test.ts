/** Ranks that save without end are killed at random moments, one or all of them, and launched again in other numbers. */
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { POLICIES } from "./children/rank-state.mjs";
import { killAll, type RankProcess } from "./rank-process";
import { checkedSteps, KINDS, launch, order, sinkOf } from "./ranks-kit";

const ROUNDS = 40;
/** Milliseconds: long enough for several saves, so that kills fall on every stage of one. */
const LONGEST_LIFE = 400;
const LONGEST_LIFE_OF_THE_REST = 100;

test.each(KINDS)(
  `%s: ${ROUNDS} kills at random moments cost no committed checkpoint`,
  { timeout: 600_000 },
  async (kind) => {
    const root = await mkdtemp(join(tmpdir(), "holdfast-ranks-kill-"));
    const where = { root, kind, keep: 2 }; // so that kills fall on reading back and on deleting too
    const sink = sinkOf(where);
    onTestFinished(async () => {
      await killAll();
      await sink.close();
      await rm(root, { recursive: true });
    });
    let newest = 0;
    let leftovers = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const count = round % 2 === 0 ? 4 : 1 + pick(4);
      const policy = POLICIES[pick(POLICIES.length)] ?? "replicated";
      const ranks = await launch(count, { ...where, policy });
      if (newest > 0) {
        order(ranks, `restore ${newest}`); // each compares all that it holds
        await Promise.all(ranks.map((rank) => rank.hears("restored")));
      }
      order(ranks, `run ${newest + 1}`);
      await setTimeout(Math.random() * LONGEST_LIFE);
      if (Math.random() < 0.6) {
        await ranks[pick(count)]?.kill();
        await setTimeout(Math.random() * LONGEST_LIFE_OF_THE_REST);
      }
      await killAll();
      for (const rank of ranks) expect([rank.errors, failuresOf(rank)]).toEqual(["", []]);

      if ((await readdir(root)).some((name) => name.startsWith(".attempt-"))) leftovers++;
      const told = ranks.flatMap(({ said }) =>
        said.flatMap(([word, step]) => (word === "committed" ? [Number(step)] : [])),
      );
      const steps = await checkedSteps(sink);
      // What any rank was told of is there, and so is all that was there before, but for what retention took.
      const least = Math.max(newest, ...told);
      newest = steps.at(-1) ?? 0;
      expect(newest).toBeGreaterThanOrEqual(least);
    }
    // Otherwise the kills did not fall into saves, and the test proved nothing.
    expect(newest).toBeGreaterThan(ROUNDS / 2);
    expect(leftovers).toBeGreaterThan(ROUNDS / 10);
  },
);

function pick(below: number): number {
  return Math.floor(Math.random() * below);
}

function failuresOf({ said }: RankProcess) {
  return said.filter(([word]) => word === "failed");
}
