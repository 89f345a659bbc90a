import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { allGroups } from "./groups";
import type { Contestant, Group, Row } from "./measure";
import { compared } from "./rows/compared";
import type { Answer } from "./run-child";
import { runGroup, select } from "./runner";

const root = await mkdtemp(join(tmpdir(), "holdfast-bench-runner-"));
afterAll(() => rm(root, { recursive: true }));

const ratio = (ours: string, theirs: string) =>
  compared({ name: `${ours} / ${theirs}`, ours, theirs, figure: "speed", unit: "GB/s" });
const contestant = (name: string): Contestant => ({ name, child: name, options: {} });
const group: Group = {
  name: "race",
  about: "Who is faster.",
  runs: 3,
  contestants: ["A", "B", "C"].map(contestant),
  rows: [ratio("A", "B"), ratio("A", "C")],
};

/** Runs the group with made-up answers, one after another for each contestant. */
async function race(answers: Record<string, (Answer | Error)[]>) {
  const order: string[] = [];
  const soFar: number[] = [];
  const missed: string[] = [];
  const watcher = {
    running: () => {},
    ran: () => {},
    measured: (_: Group, rows: readonly Row[]) => soFar.push(rows.length),
    skipped: (what: string, why: string) => missed.push(`${what}: ${why}`),
    failed: (what: string, error: unknown) => missed.push(`${what}: ${error}`),
  };
  const rows = await runGroup(group, root, watcher, new AbortController().signal, async ({ name }) => {
    order.push(name);
    const answer = answers[name]?.shift() ?? { speed: 1 };
    if (answer instanceof Error) throw answer;
    return answer;
  });
  return { rows, order: order.join(" "), missed, soFar };
}

test("contestants take turns in an order that turns round, and medians are compared", async () => {
  const { rows, order, missed, soFar } = await race({
    A: [2, 100, 3].map((speed) => ({ speed })),
    B: [{ speed: 1.5 }],
  });
  expect(order).toBe("A B C C B A A B C");
  expect(rows).toEqual([
    { group: "race", name: "A / B", goal: undefined, value: 3, unit: "GB/s", ratio: 3, against: "B: 1 GB/s" },
    { group: "race", name: "A / C", goal: undefined, value: 3, unit: "GB/s", ratio: 3, against: "C: 1 GB/s" },
  ]);
  expect(missed).toEqual([]);
  expect(soFar).toEqual([0, 1, 2, 2, 2, 2, 2, 2, 2]);
  expect(await readdir(root)).toEqual([]);
});

test("who cannot be had or fails is named once, and costs only the rows that need it", async () => {
  const { rows, order, missed } = await race({
    B: [{ skip: "not installed" }],
    C: [{ speed: 2 }, new Error("broke")],
  });
  expect(order).toBe("A B C C A A");
  expect(rows.map(({ name, against }) => [name, against])).toEqual([["A / C", "C: 2 GB/s"]]);
  expect(missed).toEqual(["race: B: not installed", "race: C: Error: broke"]);
});

test("--only leaves the rows that are named, and who they need", () => {
  expect(select([group], [])).toEqual([group]);
  expect(select([group], ["race", "A / C"])).toEqual([group]);
  const [left, ...more] = select([group], ["A / C"]);
  expect(more).toEqual([]);
  expect(left?.rows.map(({ name }) => name)).toEqual(["A / C"]);
  expect(left?.contestants.map(({ name }) => name)).toEqual(["A", "C"]);
  const besideC = { ...group, rows: [{ ...ratio("A", "B"), needs: ["A"], beside: ["C"] }] };
  expect(select([besideC], ["A / B"])[0]?.contestants.map(({ name }) => name)).toEqual(["A", "C"]);
  expect(() => select([group], ["B / C"])).toThrow("--only B / C: there is no such row or group");
});

test.each([true, false])(
  "every row needs contestants of its group, and has a name of its own (quick: %j)",
  (quick) => {
    const groups = allGroups({ quick });
    for (const { contestants, rows } of groups) {
      const known = contestants.map(({ name }) => name);
      expect(known).toEqual(expect.arrayContaining(rows.flatMap(({ needs }) => [...needs])));
    }
    const names = groups.flatMap(({ name, rows }) => [name, ...rows.map((row) => row.name)]);
    expect(new Set(names).size).toBe(names.length);
  },
);
