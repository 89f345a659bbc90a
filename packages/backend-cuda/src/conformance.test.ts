import { backendConformance } from "@holdfast/core/conformance";
import { TrainingProgram } from "@holdfast/cuda-stand-in";
import { describe, test } from "vitest";
import { cudaBackend } from "./backend";
import { createTensor, describeOnStandIn, expectNothingLeft, loadsDriverOf } from "./test-kit";

/** Each has another way to make many copies in one call. */
const DRIVERS = [
  ["CUDA 13.0: cuMemcpyBatchAsync_v2", 13_000],
  ["CUDA 12.8: cuMemcpyBatchAsync", 12_080],
  ["CUDA 11.4: our kernel", 11_040],
] as const;

for (const [title, version] of DRIVERS) {
  describeOnStandIn(
    title,
    (standIn) => {
      backendConformance(
        { describe, test },
        {
          name: "cuda",
          async open() {
            loadsDriverOf(standIn);
            standIn.set({ jitter_us: 50 });
            const program = new TrainingProgram(standIn.path);
            return {
              backend: cudaBackend({ stream: program.stream }),
              create: async (spec, bytes) => createTensor(program, spec, bytes),
              bytes: async ({ ptr, byteLength }) => program.read(ptr, byteLength),
              async overwrite(tensor, bytes) {
                program.write(tensor.ptr, bytes);
                return tensor;
              },
              async dispose() {
                program.close();
                expectNothingLeft(standIn);
              },
            };
          },
        },
      );
    },
    { version },
  );
}
