import { expect, test } from "vitest";
import { percent } from "./format";

test.each([
  [0.9612, "96.1 %"],
  [-0.0123, "-1.2 %"],
  [-0.0003, "0.0 %"],
  [0, "0.0 %"],
])("%d is %s", (share, text) => {
  expect(percent(share)).toBe(text);
});
