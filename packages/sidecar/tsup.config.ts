import { defineConfig } from "tsup";

export default defineConfig({
  entry: ["src/holdfast-sidecar.ts"],
  format: "esm",
  clean: true,
  target: "node20",
  sourcemap: true,
});
