import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { ERRORS_DOC, errorsDoc } from "../scripts/errors-doc.mjs";

test("docs/errors.md lists the codes as the sources do (node scripts/errors-doc.mjs writes it)", () => {
  expect(readFileSync(ERRORS_DOC, "utf8")).toBe(errorsDoc());
});
