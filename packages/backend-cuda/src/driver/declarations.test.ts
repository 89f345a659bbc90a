/** What we call is what NVIDIA's header declares: a compiler compares them, where there is one and a header. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildStandIn, cudaHeaders } from "@holdfast/cuda-stand-in";
import { describe, expect, test } from "vitest";
import { DECLARATIONS, type FunctionName, foreignTypes, IPC_HANDLE } from "./declarations";

const headers = cudaHeaders();
const compiler = ["cc", "gcc", "clang"].find((name) => spawnSync(name, ["--version"]).status === 0);
const comparable = headers !== undefined && compiler !== undefined;
if (!comparable) {
  console.error(
    "NOT TESTED: signatures against a real cuda.h, which needs one (CUDA_HEADERS) and a C compiler",
  );
}

/** A C file that declares every function once more, `change`d: it compiles only if the header agrees. */
function compile(change: (declaration: string) => string = (declaration) => declaration): string {
  const directory = mkdtempSync(join(tmpdir(), "holdfast-"));
  const lines = Object.entries(DECLARATIONS).map(([name, parameters]) =>
    change(`CUresult CUDAAPI ${name}(${parameters});`),
  );
  // Or cuda.h means the newest version of a function by the first one's name, and does not declare the older ones.
  const text = ["#define __CUDA_API_VERSION_INTERNAL", "#include <cuda.h>", ...lines].join("\n");
  const file = join(directory, "declarations.c");
  writeFileSync(file, text);
  const { stderr } = spawnSync(compiler ?? "cc", ["-fsyntax-only", `-I${headers}`, file], {
    encoding: "utf8",
  });
  rmSync(directory, { recursive: true });
  return stderr;
}

describe.runIf(comparable)("against a real cuda.h", () => {
  test("every declaration agrees", () => {
    expect(compile()).toBe("");
  });

  test("one that does not is noticed", () => {
    expect(compile((line) => line.replace("size_t ByteCount", "unsigned int ByteCount"))).toContain(
      "cuMemcpyAsync",
    );
    expect(compile((line) => line.replace("size_t *failIdx", "int *failIdx"))).toContain(
      "cuMemcpyBatchAsync",
    );
    expect(compile((line) => line.replace("cuEventQuery(CUevent", "cuEventQuery(CUstream"))).toContain(
      "cuEventQuery",
    );
  });

  test("the stand-in's agree too", () => {
    expect(buildStandIn(headers === undefined ? {} : { headers })).toMatch(/libcuda/);
  });
});

test("every parameter is of a type that we know how to pass", () => {
  const names = Object.keys(DECLARATIONS) as FunctionName[];
  const types = new Set(names.flatMap(foreignTypes));
  expect([...types].sort()).toEqual(["int", "size_t", IPC_HANDLE, "uint32", "uint64", "void *"]);
  expect(foreignTypes("cuMemcpyAsync")).toEqual(["uint64", "uint64", "size_t", "uint64"]);
  expect(foreignTypes("cuMemAlloc_v2")).toEqual(["void *", "size_t"]);
});
