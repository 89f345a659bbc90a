import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { StandIn } from "@holdfast/cuda-stand-in";
import { afterEach, expect, test } from "vitest";
import { cudaBackend } from "../backend";
import { describeOnStandIn, loadsDriverOf, TestBudget, thrown } from "../test-kit";

/** What the first use of a backend throws. */
function refusal(options: Parameters<typeof cudaBackend>[0] = {}) {
  const device = new TestBudget(0);
  return thrown(() => cudaBackend(options).snapshot(new Map(), { device }));
}

afterEach(() => {
  delete process.env.HOLDFAST_LIBCUDA;
});

test("without a driver, it says what to install", async () => {
  process.env.HOLDFAST_LIBCUDA = "/nowhere/libcuda.so.1";
  const error = await refusal();
  expect(error.code).toBe("UNSUPPORTED");
  expect(error.message).toMatch(/there is no CUDA driver: install NVIDIA's.*\/nowhere\/libcuda\.so\.1/);
});

test("what is no library is none", async () => {
  const directory = mkdtempSync(join(tmpdir(), "holdfast-"));
  const file = join(directory, "libcuda.so.1");
  writeFileSync(file, "not a library");
  process.env.HOLDFAST_LIBCUDA = file;
  expect((await refusal()).code).toBe("UNSUPPORTED");
  rmSync(directory, { recursive: true });
});

test("a backend that is never used loads nothing", () => {
  process.env.HOLDFAST_LIBCUDA = "/nowhere/libcuda.so.1";
  const backend = cudaBackend();
  expect(backend.accepts({})).toBe(false);
  backend.close?.();
});

// A driver that was loaded is kept, so that each of these needs a library of its own.
const versions = [
  ["too old", 10_020, () => {}, /of CUDA 10\.2, and has to be of 11\.0 at least/],
  ["no device", 11_010, (standIn: StandIn) => standIn.set({ devices: 0 }), /finds no device.*nvidia-smi/],
  [
    "it does not start",
    11_020,
    (standIn: StandIn) => standIn.failCall(1, 304, "cuInit"),
    /cuInit failed with CUDA_ERROR_OPERATING_SYSTEM \(304\)/,
  ],
] as const;

for (const [title, version, prepare, message] of versions) {
  describeOnStandIn(
    title,
    (standIn) => {
      test("is unsupported, and says so", async () => {
        loadsDriverOf(standIn);
        // The first `cuInit` reads the settings of the environment, which are none.
        prepare(standIn);
        const error = await refusal();
        expect(error.code).toBe("UNSUPPORTED");
        expect(error.message).toMatch(message);
      });
    },
    { version },
  );
}

describeOnStandIn("devices", (standIn) => {
  test.each([1, -1, 0.5])("there is no device %d", async (device) => {
    loadsDriverOf(standIn);
    const error = await refusal({ device });
    expect(error.code).toBe("INVALID_ARGUMENT");
    expect(error.message).toContain(`there is no CUDA device ${device}: there are 1, from 0 on`);
  });
});
