import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { atLeast, goalText, isMet, valueAtMost } from "./goal";
import { mixedSizes } from "./kit/state";
import type { Group, Row } from "./measure";
import { resultsText } from "./results";
import { inTurn, runGroup, select } from "./runner";
import { median, quantile, slope } from "./statistics";
import { figureText, jsonRow, markdownTable, terminalTable } from "./table";

const group: Group = {
  name: "write",
  about: "Writes.",
  runs: 3,
  contestants: [
    { name: "ours", child: "save", options: {} },
    { name: "theirs", child: "dd", options: {} },
    { name: "others", child: "dd", options: {} },
  ],
  rows: [
    {
      name: "ours / theirs",
      needs: ["ours", "theirs"],
      goal: atLeast(2),
      figure: (of) => ({ value: of("ours", "v"), unit: "GB/s", ratio: of("ours", "v") / of("theirs", "v") }),
    },
    { name: "others alone", needs: ["others"], figure: (of) => ({ value: of("others", "v"), unit: "ms" }) },
  ],
};

const silent = { running: () => {}, ran: () => {}, skipped: () => {}, failed: () => {} };
const never = new AbortController().signal;

describe("a group", () => {
  test("runs its contestants in turns, and its rows are made of their medians", async () => {
    const order: string[] = [];
    const values: Record<string, number[]> = { ours: [9, 5, 1], theirs: [2, 2, 2], others: [7, 7, 7] };
    const rows = await runGroup(group, "nowhere", silent, never, async ({ name }) => {
      order.push(name);
      return { v: values[name]?.shift() ?? Number.NaN };
    });
    expect(order.join(" ")).toBe("ours theirs others others theirs ours ours theirs others");
    expect(rows.map(({ name, value, ratio }) => [name, value, ratio])).toEqual([
      ["ours / theirs", 5, 2.5],
      ["others alone", 7, undefined],
    ]);
  });

  test("has no row for what cannot be had, and says why", async () => {
    const missed: string[] = [];
    const watcher = { ...silent, skipped: (what: string, why: string) => missed.push(`${what}: ${why}`) };
    const rows = await runGroup(group, "nowhere", watcher, never, async ({ name }) =>
      name === "theirs" ? { skip: "there is no dd" } : { v: 1 },
    );
    expect(rows.map(({ name }) => name)).toEqual(["others alone"]);
    expect(missed).toEqual(["write: theirs: there is no dd"]);
  });

  test("is chosen by its name or by a row's, and then measures only what that row needs", () => {
    expect(select([group], [])).toEqual([group]);
    expect(select([group], ["write"])).toEqual([group]);
    const [chosen] = select([group], ["others alone"]);
    expect(chosen?.contestants.map(({ name }) => name)).toEqual(["others"]);
    expect(() => select([group], ["nothing"])).toThrow(/no such row[\s\S]+ours \/ theirs/);
  });
});

test("turns go to and fro", () => {
  expect([0, 1, 2].map((round) => inTurn(["a", "b"], round).join(""))).toEqual(["ab", "ba", "ab"]);
});

describe("figures", () => {
  test("medians, quantiles and slopes", () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(quantile([1, 2, 3, 4], 1)).toBe(4);
    fc.assert(
      fc.property(fc.integer({ min: -50, max: 50 }), fc.integer({ min: 2, max: 30 }), (a, count) => {
        expect(slope(Array.from({ length: count }, (_, i) => 7 + a * i))).toBeCloseTo(a);
      }),
    );
  });

  test("are held against their goals", () => {
    const figure = { value: 10, unit: "ms", ratio: 0.5 };
    expect(isMet(atLeast(0.5), figure)).toBe(true);
    expect(isMet(atLeast(0.51), figure)).toBe(false);
    expect(isMet(valueAtMost(9), figure)).toBe(false);
    expect(isMet(atLeast(1), { value: 10, unit: "ms" })).toBe(false);
    expect(isMet(undefined, figure)).toBe(null);
    expect(goalText(valueAtMost(5), "ms")).toBe("≤ 5 ms");
    expect([0.42171, 1.9, 1234.4].map(figureText)).toEqual(["0.422", "1.9", "1234"]);
  });

  test("of a state add up to what was asked for", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 20, max: 30 }), (tensors, log) => {
        const sizes = mixedSizes(2 ** log, tensors);
        expect(sizes).toHaveLength(tensors);
        expect(4 * sizes.reduce((sum, size) => sum + size, 0)).toBe(2 ** log);
      }),
    );
  });
});

describe("a report", () => {
  const row: Row = { group: "write", name: "w", value: 2.984, unit: "GB/s", ratio: 1.46, goal: atLeast(0.9) };

  test("is a table for people, and an object a row for programs", () => {
    expect(terminalTable([row])[1]).toMatch(/^w +2\.98 GB\/s +1\.46 × +≥ 0\.9 × +yes$/);
    expect(markdownTable([row]).at(-1)).toBe("| w | 2.98 GB/s | 1.46 × |  | ≥ 0.9 × | yes |");
    expect(jsonRow(row)).toEqual({
      name: "w",
      value: 2.984,
      unit: "GB/s",
      ratio: 1.46,
      against: null,
      goal: "≥ 0.9 ×",
      ok: true,
    });
  });

  test("names the machine, what was measured how, and what was not", () => {
    const machine = [["CPU", "one"]] as const;
    const text = resultsText({ machine, groups: [group], rows: [row], skipped: ["write: fio: absent"] });
    expect(text).toContain("- CPU: one\n- **not measured:** write: fio: absent");
    expect(text).toContain("## write\n\nWrites. 3 runs each.\n\n| row | value |");
  });
});
