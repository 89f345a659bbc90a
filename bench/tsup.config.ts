import { defineConfig, type Options } from "tsup";

const shared: Options = {
  format: "esm",
  // They find each other's files beside their own, so that nothing of them may lie in a shared chunk elsewhere.
  splitting: false,
  target: "node20",
};

// Each child is a program of its own, started by its file's name; so is the worker.
export default defineConfig([
  {
    ...shared,
    entry: ["src/bench.ts", "src/children/*.ts", "src/workers/*.ts"],
    clean: ["!gpu/**"], // all but the other one
  },
  {
    ...shared,
    entry: {
      pack: "gpu/src/pack/pack.ts",
      "program/gpu-bench": "gpu/src/gpu-bench.ts",
      ...Object.fromEntries(
        ["correctness", "python", "save", "stall", "transfers", "webgpu"].map((name) => [
          `program/children/${name}`,
          `gpu/src/children/${name}.ts`,
        ]),
      ),
      "program/children/bare-write": "src/children/bare-write.ts",
      "program/children/dd": "src/children/dd.ts",
      "program/workers/bare-worker": "src/workers/bare-worker.ts",
    },
    outDir: "dist/gpu",
    clean: true,
  },
]);
