import { rm } from "node:fs/promises";
import { join } from "node:path";
import type { Contestant, Group, Row, RowPlan, Sample } from "./measure";
import { type Answer, isSample, runChild } from "./run-child";
import { median } from "./statistics";

/** What happens on the way. */
export interface Watcher {
  running(group: Group, contestant: string, run: number): void;
  ran(sample: Sample): void;
  /** After each run: the rows that the group has so far. */
  measured?(group: Group, rows: readonly Row[]): void;
  /** It cannot be had here. */
  skipped(what: string, why: string): void;
  /** It should have been had. */
  failed(what: string, error: unknown): void;
}

export type Run = (contestant: Contestant, dir: string) => Promise<Answer>;

/**
 * Measures a group: every contestant `group.runs` times, in an order that turns round each time. One that cannot be had,
 * or fails, does not run again: what it was measured before counts.
 */
export async function runGroup(
  group: Group,
  root: string,
  watcher: Watcher,
  signal: AbortSignal,
  run: Run = (contestant, dir) => runChild(contestant, dir, signal),
): Promise<Row[]> {
  const dir = join(root, group.name);
  const samples = new Map<string, Sample[]>();
  const over = new Set<string>();
  const measure = async (contestant: Contestant, round: number) => {
    watcher.running(group, contestant.name, round);
    const what = `${group.name}: ${contestant.name}`;
    try {
      const answer = await run(contestant, dir);
      if (isSample(answer)) {
        watcher.ran(answer);
        return answer;
      }
      watcher.skipped(what, answer.skip);
    } catch (error) {
      if (signal.aborted) throw error;
      watcher.failed(what, error);
    }
    over.add(contestant.name);
    return undefined;
  };
  const rows = () =>
    group.rows
      .filter((row) => row.needs.every((name) => samples.has(name)))
      .map((row) => ({ group: group.name, name: row.name, goal: row.goal, ...row.figure(medians(samples)) }));
  try {
    if (group.prepare && !(await measure(group.prepare, 0))) return [];
    for (let round = 0; round < group.runs; round++) {
      for (const contestant of inTurn(group.contestants, round)) {
        if (over.has(contestant.name)) continue;
        const sample = await measure(contestant, round);
        if (sample) samples.set(contestant.name, [...(samples.get(contestant.name) ?? []), sample]);
        watcher.measured?.(group, rows());
      }
    }
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
  return rows();
}

/** A B C, then C B A: what changes steadily over time hits all of them alike. */
export function inTurn<T>(items: readonly T[], round: number): readonly T[] {
  return round % 2 === 0 ? items : [...items].reverse();
}

/** What `--only` leaves: groups and rows that are named, and the contestants that these rows need. */
export function select(groups: readonly Group[], names: readonly string[]): Group[] {
  if (names.length === 0) return [...groups];
  const known = new Set(groups.flatMap((group) => [group.name, ...group.rows.map((row) => row.name)]));
  const unknown = names.find((name) => !known.has(name));
  if (unknown !== undefined) {
    throw new Error(
      `--only ${unknown}: there is no such row or group. There are:\n  ${[...known].join("\n  ")}`,
    );
  }
  return groups.flatMap((group) => {
    if (names.includes(group.name)) return [group];
    const rows = group.rows.filter((row) => names.includes(row.name));
    return rows.length > 0 ? [{ ...group, rows, contestants: neededBy(rows, group) }] : [];
  });
}

function neededBy(rows: readonly RowPlan[], { contestants }: Group): Contestant[] {
  return contestants.filter(({ name }) =>
    rows.some(({ needs, beside = [] }) => [...needs, ...beside].includes(name)),
  );
}

function medians(samples: ReadonlyMap<string, readonly Sample[]>) {
  return (contestant: string, figure: string): number => {
    const found = samples.get(contestant) ?? [];
    return found.length > 0 ? median(found.map((sample) => sample[figure] ?? Number.NaN)) : Number.NaN;
  };
}
