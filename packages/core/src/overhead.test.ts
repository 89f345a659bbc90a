import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { overhead } from "./overhead";
import { Timetable } from "./timetable";

interface Training {
  /** What a step takes by itself, in ms. */
  readonly stepMs: (step: number) => number;
  /** How long a save is under way, and how long it holds training up at its beginning. */
  readonly saveMs: number;
  readonly stallMs: number;
  /** How much longer a step takes while a save is under way: 0.1 is a tenth. */
  readonly slowdown: number;
}

/** Trains so many steps in simulated time, saving whenever it is due. */
function simulate(fraction: number, steps: number, { stepMs, saveMs, stallMs, slowdown }: Training) {
  let now = 0;
  let until: number | undefined;
  const table = new Timetable(overhead(fraction), () => now);
  const saves: { step: number; at: number; cost: number }[] = [];
  for (let step = 1; step <= steps; step++) {
    if (until !== undefined && now >= until) {
      table.ended(stallMs);
      until = undefined;
    }
    if (table.due(step)) {
      expect(until).toBeUndefined();
      saves.push({ step, at: now, cost: stallMs });
      table.began(step);
      until = now + stallMs + saveMs;
      now += stallMs;
    }
    const alone = stepMs(step);
    const slower = until === undefined ? 0 : slowdown * Math.min(alone, Math.max(0, until - now));
    const save = saves.at(-1);
    if (save) save.cost += slower;
    now += alone + slower;
  }
  return { saves, ms: now, cost: saves.reduce((total, save) => total + save.cost, 0) };
}

const quick = { stepMs: () => 100, saveMs: 450, stallMs: 5, slowdown: 0.2 };

describe("overhead", () => {
  test("saves after a short warm-up, and then as often as the fraction allows", () => {
    const { saves, cost, ms } = simulate(0.01, 20_000, quick);
    expect(saves[0]?.step).toBe(11);
    expect(cost / ms).toBeLessThanOrEqual(0.01);
    expect(cost / ms).toBeGreaterThan(0.009);
  });

  test("saves more rarely when saves begin to cost more, and more often when they cost less", () => {
    const dear = simulate(0.01, 20_000, { ...quick, slowdown: 2 });
    const cheap = simulate(0.01, 20_000, { ...quick, slowdown: 0.05 });
    const usual = simulate(0.01, 20_000, quick);
    expect(usual.saves.length).toBeGreaterThan(4 * dear.saves.length);
    expect(cheap.saves.length).toBeGreaterThan(2 * usual.saves.length);
  });

  test("measures a slowdown where nothing stalls, and a stall where nothing is slower", () => {
    const slower = simulate(0.05, 20_000, { ...quick, stallMs: 0, slowdown: 0.5 });
    const stalled = simulate(0.05, 20_000, { ...quick, saveMs: 0, stallMs: 225 });
    for (const { cost, ms } of [slower, stalled]) {
      expect(cost / ms).toBeLessThanOrEqual(0.05);
      expect(cost / ms).toBeGreaterThan(0.045);
    }
  });

  test("keeps ten steps between saves that cost nothing, to notice when they begin to", () => {
    const { saves } = simulate(0.01, 1_000, { ...quick, stallMs: 0, slowdown: 0 });
    const gaps = saves.slice(1).map(({ step }, i) => step - (saves[i]?.step ?? 0));
    expect(new Set(gaps)).toEqual(new Set([15])); // five of them are the save's own
  });

  test("is not led astray by the first steps, which compile, nor by a slow one now and then", () => {
    const stepMs = (step: number) => (step < 4 ? 60_000 : step % 97 === 0 ? 3_000 : 100);
    const { saves, cost, ms } = simulate(0.02, 50_000, { ...quick, stepMs });
    expect(saves[0]?.step).toBe(11);
    expect(cost / ms).toBeLessThanOrEqual(0.02);
    expect(saves.length).toBeGreaterThan(50);
  });

  test("is right where steps of two kinds alternate", () => {
    const stepMs = (step: number) => (step % 5 < 3 ? 100 : 50);
    const { cost, ms } = simulate(0.01, 50_000, { ...quick, stepMs, slowdown: 0.3 });
    expect(cost / ms).toBeLessThanOrEqual(0.0105);
    expect(cost / ms).toBeGreaterThan(0.005);
  });

  test("counts saves that somebody asks for by hand", () => {
    let now = 0;
    const table = new Timetable(overhead(0.01), () => now);
    const pass = (step: number, ms: number) => {
      now += ms;
      return table.due(step);
    };
    for (let step = 0; step < 10; step++) pass(step, 100);
    expect(pass(10, 100)).toBe(true);
    const save = (step: number) => {
      table.began(step);
      now += 200;
      table.ended(200);
      pass(step + 1, 100);
    };
    save(10); // costs 200 ms, which takes 20 s
    save(12); // and another 200 ms
    const due = Array.from({ length: 1_000 }, (_, i) => i + 20).filter((step) => pass(step, 100));
    expect(due[0]).toBeGreaterThan(20 + 390);
    expect(due[0]).toBeLessThan(20 + 410);
  });

  test("of two checkpointers one schedule is two: what the one saves costs the other nothing", () => {
    const schedule = overhead(0.01);
    let now = 0;
    const [one, other] = [new Timetable(schedule, () => now), new Timetable(schedule, () => now)];
    const due: [number[], number[]] = [[], []];
    for (let step = 1; step <= 60; step++) {
      now += 100;
      if (one.due(step)) {
        due[0].push(step);
        one.began(step);
        one.ended(1_000);
      }
      if (other.due(step)) {
        due[1].push(step);
        other.began(step);
        other.ended(0);
      }
    }
    expect(due).toEqual([[11], [11, 22, 33, 44, 55]]);
  });

  test("in the long run costs at most the fraction, of whatever training", () => {
    const trainings = fc.record({
      fraction: fc.double({ min: 0.002, max: 0.5, noNaN: true }),
      step: fc.double({ min: 1, max: 10_000, noNaN: true }),
      jitter: fc.double({ min: 0, max: 0.5, noNaN: true }),
      stall: fc.double({ min: 0, max: 20, noNaN: true }),
      length: fc.double({ min: 0, max: 60, noNaN: true }),
      slowdown: fc.double({ min: 0, max: 5, noNaN: true }),
      seed: fc.nat(),
    });
    fc.assert(
      fc.property(trainings, ({ fraction, step, jitter, stall, length, slowdown, seed }) => {
        const stepMs = (n: number) => step * (1 + jitter * noise(seed + n));
        const training = { stepMs, saveMs: length * step, stallMs: stall * step, slowdown };
        const { saves, cost, ms } = simulate(fraction, 5_000, training);
        expect(saves.length).toBeGreaterThan(0);
        // The last ones are not paid for yet; what noise hides or invents evens out, but never quite.
        const unpaid = saves.slice(-5).reduce((total, save) => total + save.cost, 0);
        const doubt = 3 * jitter * step * Math.sqrt(saves.length * (length + 1));
        expect(cost - unpaid - doubt).toBeLessThanOrEqual(fraction * ms);
      }),
      { numRuns: 150 },
    );
  });
});

/** From −1 to 1, evenly spread, and the same each time. */
function noise(n: number): number {
  const x = Math.sin(n * 12.9898) * 43_758.5453;
  return 2 * (x - Math.floor(x)) - 1;
}

test.each([0, 1, -0.1, Number.NaN, 5])("overhead(%d) is refused at once", (fraction) => {
  expect(() => overhead(fraction)).toThrowError(
    expect.objectContaining({
      code: "INVALID_ARGUMENT",
      message: `overhead: fraction is ${fraction}; it has to be between 0 and 1, where 0.01 is one percent`,
    }),
  );
});
