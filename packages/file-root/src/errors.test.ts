import { HoldfastError } from "@holdfast/core";
import { describe, expect, test } from "vitest";
import { storageError } from "./errors";
import { systemError } from "./testing/faulty-file-ops";

describe("the system's errors", () => {
  test.each([
    ["ENOSPC", "STORAGE_FULL"],
    ["EDQUOT", "STORAGE_FULL"],
    ["EROFS", "READ_ONLY"],
    ["EACCES", "READ_ONLY"],
    ["EPERM", "READ_ONLY"],
    ["EIO", "SINK_FAILED"],
    ["EMFILE", "SINK_FAILED"],
  ])("%s is %s", (errno, code) => {
    const cause = systemError(errno, { name: "write", path: "a/model.safetensors" });
    const error = storageError(cause, "write model.safetensors", "write");
    expect(error).toBeInstanceOf(HoldfastError);
    expect(error).toMatchObject({ code, cause });
    expect(String(error)).toMatch(/could not write model.safetensors: .*a\/model.safetensors.*\. [A-Z].*\.$/);
  });

  test("a file that may not be read is no storage that may not be written", () => {
    const cause = systemError("EACCES", { name: "open", path: "a" });
    expect(storageError(cause, "open a", "read")).toMatchObject({ code: "SINK_FAILED", cause });
  });

  test("whatever is not the system's stays as it is", () => {
    const codeAlone = Object.assign(new Error("invalid"), { code: "ERR_INVALID_ARG_TYPE" });
    for (const error of [
      new HoldfastError("CLOSED", "closed"),
      new TypeError("bug"),
      codeAlone,
      "text",
      undefined,
    ]) {
      expect(storageError(error, "write", "write")).toBe(error);
    }
  });
});
