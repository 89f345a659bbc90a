import { describe, expect, test } from "vitest";
import { attemptName, isPlainName, ordinalIn, sealedName } from "./names";

describe("what can be opened by its name", () => {
  test.each(["step-00000001", "Llama-3.2-1B", "my model (old)", "modèle", "模型"])("%j can", (name) => {
    expect(isPlainName(name)).toBe(true);
  });

  test.each([
    "",
    ".",
    "..",
    ".hidden",
    "a/b",
    "../a",
    "/etc",
    "a\\b",
    "C:a",
    "a\0b",
    "a\nb",
    "nul",
    "nul.tar",
    "a.",
  ])("%j cannot", (name) => {
    expect(isPlainName(name)).toBe(false);
  });
});

describe("an attempt's name", () => {
  test.each([1, 2])("of %i ranks says which of its run it is, sealed or not", (worldSize) => {
    const name = attemptName({ runId: "a-1.b", step: 100, ordinal: 12, worldSize });
    expect(ordinalIn("a-1.b", name)).toBe(12);
    expect(ordinalIn("a-1.b", sealedName(name))).toBe(12);
    for (const other of ["a", "b", "a-1", "1.b", "a-1xb", "a-1.b-12"])
      expect(ordinalIn(other, name)).toBeUndefined();
  });

  test.each([
    ".attempt-run",
    ".attempt-run-",
    ".attempt-run-1.other",
    ".trash-run-1",
    "attempt-run-1",
    ".attempt--1",
  ])("is not %s", (name) => {
    expect(ordinalIn("run", name)).toBeUndefined();
  });
});
