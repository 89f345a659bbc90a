import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { formatId, newestFirst } from "./checkpoint-id";
import { type CheckpointSummary, keepBest, keepEvery, keepLast, keptBy } from "./retention";

/** Checkpoints of these steps, with a loss each where one is given. */
function checkpoints(...steps: readonly (number | readonly [step: number, loss: number])[]) {
  return steps.map((entry): CheckpointSummary => {
    const [step, loss] = typeof entry === "number" ? [entry, undefined] : entry;
    const metrics = loss === undefined ? {} : { loss };
    return {
      id: formatId({ step, revision: 1 }),
      step,
      revision: 1,
      metrics,
      createdAt: "2026-01-01T00:00:00Z",
    };
  });
}

/** The steps of ids that are in a Set, or that something is told of in a Map. */
const stepsOf = (ids: { keys(): Iterable<string> }) =>
  [...ids.keys()].map((id) => Number(id.slice(5))).sort((a, b) => a - b);

describe("keepLast", () => {
  test("keeps the highest steps, in whatever order they are listed", () => {
    expect(stepsOf(keptBy([keepLast(2)], checkpoints(30, 100, 20)))).toEqual([30, 100]);
    expect(stepsOf(keptBy([keepLast(9)], checkpoints(30, 20)))).toEqual([20, 30]);
  });
});

describe("keepEvery", () => {
  test("keeps the multiples where each is saved", () => {
    expect(stepsOf(keptBy([keepEvery(4)], checkpoints(0, 1, 2, 3, 4, 5, 6, 7, 8, 9)))).toEqual([0, 4, 8]);
  });

  test("keeps the first after each multiple where none is", () => {
    expect(stepsOf(keptBy([keepEvery(100)], checkpoints(7, 98, 103, 160, 207, 420, 499)))).toEqual([
      103, 207, 420,
    ]);
  });

  test("keeps the newest revision of a step", () => {
    const [first] = checkpoints(100);
    if (!first) throw new Error("unreachable");
    const second = { ...first, id: "step-00000100.r2", revision: 2 };
    expect([...keptBy([keepEvery(100)], [first, second]).keys()]).toEqual([second.id]);
  });

  test("what it keeps stays kept, whatever comes after and whatever of the rest was deleted", () => {
    const runs = fc.record({
      every: fc.integer({ min: 1, max: 30 }),
      steps: fc.uniqueArray(fc.nat(300), { minLength: 1 }),
      seen: fc.nat(300),
    });
    fc.assert(
      fc.property(runs, ({ every, steps, seen }) => {
        const policy = [keepEvery(every)];
        const before = keptBy(policy, checkpoints(...steps.filter((step) => step <= seen)));
        const left = checkpoints(...steps).filter(({ id, step }) => step > seen || before.has(id));
        const after = keptBy(policy, left);
        expect([...before.keys()].filter((id) => !after.has(id))).toEqual([]);
        expect(after).toEqual(keptBy(policy, checkpoints(...steps)));
      }),
    );
  });
});

describe("keepBest", () => {
  test("keeps the lowest, or the highest if asked", () => {
    const some = checkpoints([1, 0.5], [2, 0.1], [3, 0.9], [4, 0.3]);
    expect(stepsOf(keptBy([keepBest("loss", 2)], some))).toEqual([2, 4]);
    expect(stepsOf(keptBy([keepBest("loss", 1, "max")], some))).toEqual([3]);
  });

  test("passes over checkpoints without the metric, and values that are none", () => {
    const some = checkpoints(1, [2, Number.NaN], [3, Number.NEGATIVE_INFINITY], [4, 7], 5);
    expect(stepsOf(keptBy([keepBest("loss", 3)], some))).toEqual([4]);
    expect(stepsOf(keptBy([keepBest("toString", 3)], some))).toEqual([]);
  });

  test("of equals the newer wins", () => {
    expect(stepsOf(keptBy([keepBest("loss", 1)], checkpoints([1, 0], [3, 0], [2, 0])))).toEqual([3]);
    expect(stepsOf(keptBy([keepBest("loss", 1, "max")], checkpoints([1, 0], [3, -0], [2, 0])))).toEqual([3]);
  });
});

test("policies have the names that they are made by", () => {
  const policies = [keepLast(3), keepEvery(1000), keepBest("loss", 1), keepBest("accuracy", 2, "max")];
  expect(policies.map(({ name }) => name)).toEqual([
    "keepLast(3)",
    "keepEvery(1000)",
    'keepBest("loss", 1)',
    'keepBest("accuracy", 2, "max")',
  ]);
});

test.each([
  ["keepLast: n is 0", () => keepLast(0)],
  ["keepLast: n is 1.5", () => keepLast(1.5)],
  ["keepLast: n is NaN", () => keepLast(Number.NaN)],
  ["keepEvery: steps is -1", () => keepEvery(-1)],
  ["keepBest: n is Infinity", () => keepBest("loss", Number.POSITIVE_INFINITY)],
  ["keepBest: metric is ;", () => keepBest("", 1)],
  ["keepBest: which is best", () => keepBest("loss", 1, "best" as "max")],
])("%s is refused at once", (message, make) => {
  expect(make).toThrowError(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  expect(make).toThrow(message);
});

describe("several policies", () => {
  test("keep what any of them keeps", () => {
    const policies = fc.array(
      fc.oneof(
        fc.integer({ min: 1, max: 5 }).map(keepLast),
        fc.integer({ min: 1, max: 50 }).map(keepEvery),
        fc.integer({ min: 1, max: 5 }).map((n) => keepBest("loss", n)),
      ),
    );
    const losses = fc.uniqueArray(fc.tuple(fc.nat(200), fc.double()), { selector: ([step]) => step });
    fc.assert(
      fc.property(policies, losses, (all, steps) => {
        const some = checkpoints(...steps).sort(newestFirst);
        const union = new Set(all.flatMap((policy) => [...policy.keep(some)].map(({ id }) => id)));
        expect(stepsOf(keptBy(all, some))).toEqual(stepsOf(union));
      }),
    );
  });

  test("see a list of their own, newest first, whatever the others do to theirs", () => {
    const seen: number[][] = [];
    const rude = {
      name: "rude",
      keep(list: readonly CheckpointSummary[]) {
        seen.push(list.map(({ step }) => step));
        return (list as CheckpointSummary[]).splice(0);
      },
    };
    keptBy([rude, rude], checkpoints(1, 3, 2));
    expect(seen).toEqual([
      [3, 2, 1],
      [3, 2, 1],
    ]);
  });

  test.each<[string, () => Iterable<CheckpointSummary>]>([
    ["throws", () => raise()],
    ["keeps what is not there", () => checkpoints(99)],
    ["keeps ids instead", () => ["step-00000001"] as unknown as CheckpointSummary[]],
    ["returns nothing", () => undefined as unknown as CheckpointSummary[]],
  ])("one that %s: nobody knows what it means", (_what, keep) => {
    expect(() => keptBy([keepLast(1), { name: "mine", keep }], checkpoints(1))).toThrowError(
      expect.objectContaining({
        code: "INVALID_ARGUMENT",
        message: expect.stringContaining("the retention policy mine failed: "),
      }),
    );
  });
});

function raise(): never {
  throw new Error("a bug of mine");
}
