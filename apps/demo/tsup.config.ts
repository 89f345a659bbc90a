import { defineConfig } from "tsup";

export default defineConfig({
  entry: { demo: "src/demo.ts", train: "src/train.ts", worker: "src/worker.ts", rank: "src/rank.ts" },
  format: "esm",
  clean: true,
  target: "node20",
});
