import { HoldfastError, isHoldfastError } from "@holdfast/core";
import { expect, test } from "vitest";
import { fromPortable, toPortable } from "./portable-error";

/** There and back, as a message between threads. */
function across(error: unknown): Error {
  return fromPortable(structuredClone(toPortable(error)));
}

test("an error of ours arrives as one, with what caused it", () => {
  const system = Object.assign(new Error("ENOSPC: no space left"), { code: "ENOSPC", syscall: "write" });
  const error = across(new HoldfastError("STORAGE_FULL", "make room", { cause: system }));
  expect(isHoldfastError(error, "STORAGE_FULL")).toBe(true);
  expect(error).toMatchObject({ message: "make room", cause: { code: "ENOSPC", syscall: "write" } });
  expect(error.cause).toBeInstanceOf(Error);
});

test("an abort keeps its name, and its stack says where it came up", () => {
  const error = across(AbortSignal.abort().reason);
  expect(error.name).toBe("AbortError");
  const thrown = new TypeError("not a function");
  expect(across(thrown)).toMatchObject({ name: "TypeError", stack: thrown.stack });
});

test("whatever else was thrown arrives as an Error", () => {
  expect(across("gone wrong")).toMatchObject({ message: "gone wrong" });
});
