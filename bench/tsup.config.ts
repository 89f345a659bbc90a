import { defineConfig } from "tsup";

export default defineConfig({
  // Each child is a program of its own, started by its file's name; so is the worker.
  entry: ["src/bench.ts", "src/children/*.ts", "src/workers/*.ts"],
  format: "esm",
  clean: true,
  target: "node20",
});
