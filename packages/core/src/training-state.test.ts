import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { utf8 } from "./damage-kit";
import { decodeTraining, encodeTraining } from "./training-state";

/** JSON that survives JSON: it has no −0. */
const json = fc.jsonValue().map((value) => JSON.parse(JSON.stringify(value)));
const finite = fc.double({ noNaN: true, noDefaultInfinity: true }).map((number) => number + 0);

test("is read as it was written", () => {
  const training = fc.record({
    epoch: fc.maxSafeNat(),
    learningRate: finite,
    metadata: fc.dictionary(fc.string(), fc.string({ unit: "binary" })),
  });
  const metrics = fc.dictionary(fc.string(), finite);
  fc.assert(
    fc.property(fc.maxSafeNat(), training, metrics, json, (step, training, metrics, extra) => {
      const input = { step, training, metrics, extra };
      expect(decodeTraining(encodeTraining(input), "f")).toEqual(input);
    }),
    { numRuns: 300 },
  );
});

test("has boostr's keys, in boostr's words and types, and ours beside them", () => {
  const text = new TextDecoder().decode(
    encodeTraining({
      step: 7,
      training: { epoch: 2, learningRate: 1e-7, metadata: { run: "a\nb" } },
      metrics: { loss: 0.5 },
      extra: { rng: [1, 2] },
    }),
  );
  expect(text.startsWith('{\n  "version": 2,\n  "step": 7,\n  "epoch": 2,\n  "learning_rate": 1e-7,\n')).toBe(
    true,
  );
  expect(JSON.parse(text)).toEqual({
    version: 2,
    step: 7,
    epoch: 2,
    learning_rate: 1e-7,
    metadata: { run: "a\nb" },
    metrics: { loss: 0.5 },
    extra: { rng: [1, 2] },
  });
  expect(JSON.parse(new TextDecoder().decode(encodeTraining({ step: 0 })))).toEqual({
    version: 2,
    step: 0,
    epoch: 0,
    learning_rate: 0,
    metadata: {},
    metrics: {},
  });
});

test("steps and epochs are written as whole numbers: boostr reads no exponent and no fraction", () => {
  const step = Number.MAX_SAFE_INTEGER;
  const text = new TextDecoder().decode(encodeTraining({ step, training: { epoch: 1e15 } }));
  expect(text).toContain('"step": 9007199254740991,');
  expect(text).toContain('"epoch": 1000000000000000,');
});

describe("what boostr could not read back, or JSON not hold, is refused", () => {
  const refused = (input: object, code: string, place: RegExp) => {
    expect(() => encodeTraining({ step: 1, ...input })).toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(place) }),
    );
  };

  test("a learning rate that is not finite, an epoch that is no count", () => {
    for (const learningRate of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])
      refused({ training: { learningRate } }, "NOT_JSON", /training.learningRate/);
    for (const epoch of [-1, 0.5, Number.NaN, 2 ** 53])
      refused({ training: { epoch } }, "INVALID_ARGUMENT", /training.epoch/);
  });

  test("metadata that are no strings, metrics that are no finite numbers", () => {
    refused({ training: { metadata: { a: 1 } } }, "INVALID_ARGUMENT", /training.metadata.a .*extra/);
    refused({ metrics: { loss: "1" } }, "INVALID_ARGUMENT", /metrics.loss/);
    refused({ metrics: { loss: Number.NaN } }, "NOT_JSON", /metrics.loss is NaN/);
  });

  test("extra that JSON would change without a word", () => {
    refused({ extra: { deep: [{ f: () => 1 }] } }, "NOT_JSON", /extra.deep\[0\].f/);
    refused({ extra: { gap: undefined } }, "NOT_JSON", /extra.gap/);
    refused({ extra: new Map() }, "NOT_JSON", /extra is a Map/);
    refused({ extra: 10n }, "NOT_JSON", /extra is a bigint/);
  });
});

describe("what boostr's older versions wrote", () => {
  test("only the step is required", () => {
    expect(decodeTraining(utf8('{"step": 12}'), "f")).toEqual({
      step: 12,
      training: { epoch: 0, learningRate: 0, metadata: {} },
      metrics: {},
      extra: undefined,
    });
    expect(() => decodeTraining(utf8('{"version": 2, "epoch": 1}'), "f")).toThrow(/f: step/);
  });

  test("keys that nobody knows are ignored", () => {
    expect(decodeTraining(utf8('{"step": 1, "optimizer": {"kind": "adamw"}}'), "f").step).toBe(1);
  });

  test("names that JavaScript has a meaning for are names like others", () => {
    const metadata = '{"step": 1, "metadata": {"__proto__": "a", "constructor": "b"}}';
    expect(Object.entries(decodeTraining(utf8(metadata), "f").training.metadata)).toEqual([
      ["__proto__", "a"],
      ["constructor", "b"],
    ]);
  });
});

test.each(["learning_rate", "metrics"])("numbers too large for a double are refused: %s", (key) => {
  const value = key === "metrics" ? '{"loss": 1e999}' : "-1e999";
  expect(() => decodeTraining(utf8(`{"step": 1, "${key}": ${value}}`), "training_state.json")).toThrow(
    expect.objectContaining({ code: "CHECKPOINT_CORRUPT", message: expect.stringContaining(key) }),
  );
});

test("boostr's learning rate of null, which was NaN, is not taken for 0", () => {
  const bytes = new TextEncoder().encode('{"step": 1, "learning_rate": null}');
  expect(() => decodeTraining(bytes, "training_state.json")).toThrow(
    expect.objectContaining({
      code: "CHECKPOINT_CORRUPT",
      message: expect.stringContaining("learning_rate"),
    }),
  );
});
