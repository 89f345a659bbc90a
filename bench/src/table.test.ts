import { expect, test } from "vitest";
import { atLeast } from "./goal";
import type { Row } from "./measure";
import { resultsText } from "./results";
import { figureText, jsonRow, markdownTable, terminalTable } from "./table";

const rows: Row[] = [
  {
    group: "race",
    name: "A / B",
    value: 1.23456,
    unit: "GB/s",
    ratio: 0.617283,
    against: "B: 2 GB/s",
    goal: atLeast(0.9),
  },
  { group: "race", name: "memory", value: 1234.5678, unit: "MiB", goal: undefined },
];

test("figures are as long as they are worth", () => {
  expect([0.00123456, 1.9, 12345.6, -40.23].map(figureText)).toEqual(["0.00123", "1.9", "12346", "-40.2"]);
});

test("JSON has every field of every row", () => {
  expect(rows.map(jsonRow)).toEqual([
    {
      name: "A / B",
      value: 1.235,
      unit: "GB/s",
      ratio: 0.6173,
      against: "B: 2 GB/s",
      goal: "≥ 0.9 ×",
      ok: false,
    },
    { name: "memory", value: 1235, unit: "MiB", ratio: null, against: null, goal: null, ok: null },
  ]);
});

test("tables line up", () => {
  expect(terminalTable(rows)).toEqual([
    "row      value       ratio     against     goal      met",
    "A / B    1.23 GB/s   0.617 ×   B: 2 GB/s   ≥ 0.9 ×   NO",
    "memory   1235 MiB",
  ]);
  expect(markdownTable(rows)[2]).toBe("| A / B | 1.23 GB/s | 0.617 × | B: 2 GB/s | ≥ 0.9 × | NO |");
});

test("RESULTS.md says on what machine, what is missing, and what was found", () => {
  const group = { name: "race", about: "Who is faster.", runs: 5, contestants: [], rows: [] };
  const text = resultsText({
    machine: [["CPU", "one"]],
    groups: [group, { ...group, name: "lost" }],
    rows,
    skipped: ["race: C: not installed"],
  });
  expect(text).toContain(
    "- CPU: one\n- **not measured:** race: C: not installed\n\n## race\n\nWho is faster. 5 runs each.",
  );
  expect(text).toContain("| memory | 1235 MiB |  |  |  |  |\n\n## lost");
  expect(text.endsWith("Not measured.\n")).toBe(true);
});
