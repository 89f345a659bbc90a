/** Several ranks: how evenly they share the work, what planning, saving and waiting for each other costs. */
import type { PlanOptions } from "../children/plan";
import type { RanksOptions } from "../children/ranks";
import { atMost, valueAtMost } from "../goal";
import { type Contestant, type Group, MiB, type RowPlan, type Scale } from "../measure";
import { compared, ratioOf } from "./compared";

export function ranksGroups(scale: Scale): Group[] {
  return [sharesGroup(), planGroup(scale), saveGroup(scale), requestsGroup(scale)];
}

function sharesGroup(): Group {
  const sizes = [2, 4, 8, 16, 32, 64];
  return {
    name: "ranks-shares",
    about:
      "What each of several ranks is about to write of GPT-2 small (124 M parameters, F32) and Adam's two moments, " +
      "under `replicated()`: the most loaded rank, to the mean, headers included. It is what `save` plans; nothing is written.",
    runs: 1,
    contestants: sizes.map((worldSize) => planning(`${worldSize} ranks`, { worldSize, state: "gpt2" })),
    rows: sizes.map((worldSize) => ({
      name: `bytes of the most loaded of ${worldSize} ranks / mean`,
      needs: [`${worldSize} ranks`],
      goal: atMost(1.05),
      figure: (median) => {
        const of = (figure: string) => median(`${worldSize} ranks`, figure);
        return ratioOf(of("mostMb"), { name: "mean", value: of("meanMb") }, "MB");
      },
    })),
  };
}

function planGroup({ quick }: Scale): Group {
  const state = quick ? 10_000 : 100_000;
  const [name, what] = ["plan", `${state} tensors × 4096 ranks`];
  return {
    name: "ranks-plan",
    about:
      "What one rank of 4,096 does for its first save of 100,000 tensors, but for writing (its share is 0.4 MB): from the call of " +
      "`save` until its manifest is there. No rank asks another; each works out its own part. The memory is the peak meanwhile.",
    runs: quick ? 1 : 5,
    contestants: [planning(name, { worldSize: 4096, state, ranks: 1 })],
    rows: [
      {
        name: `plan ${what}`,
        needs: [name],
        goal: valueAtMost(1),
        figure: (median) => ({ value: median(name, "seconds"), unit: "s" }),
      },
      {
        name: `memory to plan ${what}`,
        needs: [name],
        figure: (median) => ({ value: median(name, "mib"), unit: "MiB" }),
      },
    ],
  };
}

function saveGroup({ quick }: Scale): Group {
  const bytes = (quick ? 64 : 512) * MiB;
  const contestants = [1, 2, 4].map((ranks) => saving(nameOf(ranks), { ranks, bytes, tensors: 300 }));
  const row = (ranks: number) =>
    compared({
      name: `save on ${ranks} ranks / 1`,
      ours: nameOf(ranks),
      theirs: nameOf(1),
      figure: "ms",
      unit: "ms",
    });
  return {
    name: "ranks-save",
    about:
      "A state of 512 MiB in 300 tensors, held by 1, 2 or 4 ranks (processes of this one machine, on one disk), written once: from when all " +
      "are told to save until all know that it is committed. What several need more is to wait for each other.",
    runs: quick ? 1 : 5,
    contestants,
    rows: [row(2), row(4)],
  };
}

function requestsGroup({ quick }: Scale): Group {
  const many = quick ? 1000 : 10_000;
  const cases = [4, 8].flatMap((ranks) =>
    [10, many].map((tensors) => ({ ranks, tensors, name: `${ranks} ranks, ${tensors} tensors` })),
  );
  const row = (ranks: number, what: string, figure: string, limit?: number): RowPlan =>
    compared({
      name: `${what} a commit of ${ranks} ranks`,
      ours: `${ranks} ranks, ${many} tensors`,
      theirs: `${ranks} ranks, 10 tensors`,
      figure,
      unit: what,
      ...(limit !== undefined && { goal: atMost(limit) }),
    });
  return {
    name: "ranks-requests",
    about:
      "What one commit takes of the storage, all ranks together, for 64 MiB in 10,000 tensors and in 10: files beside those of the " +
      "tensors; calls of the sink other than polls; and polls, which come ever more seldom as long as nothing happens.",
    runs: quick ? 1 : 5,
    contestants: cases.map(({ name, ranks, tensors }) => saving(name, { ranks, tensors, bytes: 64 * MiB })),
    rows: [4, 8].flatMap((ranks) => [
      row(ranks, "small files", "small", 1),
      row(ranks, "requests", "requests", 1),
      row(ranks, "polls", "polls"),
    ]),
  };
}

function nameOf(ranks: number): string {
  return ranks === 1 ? "1 rank" : `${ranks} ranks`;
}

function planning(name: string, options: PlanOptions): Contestant {
  return { name, child: "plan", options };
}

function saving(name: string, options: RanksOptions): Contestant {
  return { name, child: "ranks", options };
}
