import fc from "fast-check";
import { expect, test } from "vitest";
import { formatId, newestFirst, parseId } from "./checkpoint-id";

const anyId = fc.record({
  step: fc.maxSafeNat(),
  revision: fc.integer({ min: 1, max: 999_999_999 }),
});

test("what formatId writes, parseId reads", () => {
  fc.assert(
    fc.property(anyId, (id) => {
      expect(parseId(formatId(id))).toEqual(id);
    }),
  );
  expect(formatId({ step: 100, revision: 1 })).toBe("step-00000100");
  expect(formatId({ step: 100, revision: 2 })).toBe("step-00000100.r2");
  expect(formatId({ step: Number.MAX_SAFE_INTEGER, revision: 1 })).toBe("step-9007199254740991");
});

test("each id has one spelling: whatever parses is what would be written", () => {
  const digits = fc.string({ unit: fc.constantFrom(..."0123456789"), maxLength: 17 });
  const near = fc
    .tuple(
      fc.constantFrom("step-", "Step-", "step_", " step-", ""),
      digits,
      fc.constantFrom("", ".r", ".R", "r"),
      digits,
    )
    .map((parts) => parts.join(""));
  fc.assert(
    fc.property(fc.oneof(near, fc.string()), (text) => {
      const parsed = parseId(text);
      if (parsed) expect(formatId(parsed)).toBe(text);
    }),
    { numRuns: 2000 },
  );
});

test("what is no id of ours", () => {
  const others = [
    "",
    "best",
    "step-",
    "step-1",
    "step-0000100",
    "step-000000100", // padded to eight digits, and no further
    "step-00000100.r1", // the first revision is not said
    "step-00000100.r0",
    "step-00000100.r02",
    "step-00000100.r1000000000",
    "step-00000100.tmp",
    "step-00000100/",
    "step-00000100\n",
    "step-00000100 ",
    "../step-00000100",
    "step--0000100",
    "step-+0000100",
    "step-1e000000",
    "step-٠٠٠٠٠١٠٠",
    "step-9007199254740992", // above 2^53 − 1
    "attempt-step-00000100-run-1",
  ];
  for (const name of others) expect(parseId(name), JSON.stringify(name)).toBeUndefined();
});

test("newest first is by step, then by revision, as numbers", () => {
  const ids = ["step-00000002", "step-00000010.r10", "step-100000000", "step-00000010.r9", "step-00000010"];
  const parsed = ids.map(parseId).filter((id) => id !== undefined);
  expect(parsed.sort(newestFirst).map(formatId)).toEqual([
    "step-100000000",
    "step-00000010.r10",
    "step-00000010.r9",
    "step-00000010",
    "step-00000002",
  ]);
  fc.assert(
    fc.property(fc.array(anyId), (list) => {
      const sorted = [...list].sort(newestFirst);
      sorted.slice(1).forEach((older, i) => {
        const newer = sorted[i] ?? older;
        expect(
          newer.step > older.step || (newer.step === older.step && newer.revision >= older.revision),
        ).toBe(true);
      });
    }),
  );
});
