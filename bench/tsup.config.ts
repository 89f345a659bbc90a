import { defineConfig } from "tsup";

export default defineConfig({
  // Each child is a program of its own, started by its file's name; so is the worker.
  entry: ["src/bench.ts", "src/children/*.ts", "src/workers/*.ts"],
  format: "esm",
  // They find each other's files beside their own, so that nothing of them may lie in a shared chunk elsewhere.
  splitting: false,
  clean: true,
  target: "node20",
});
