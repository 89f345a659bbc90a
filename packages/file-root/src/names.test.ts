import { describe, expect, test } from "vitest";
import { isPlainName } from "./names";

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
