import { defineConfig } from "tsup";

export default defineConfig({
  entry: { index: "src/index.ts", testing: "src/testing/index.ts" },
  format: "esm",
  clean: true,
  target: "node20",
  external: ["vitest"],
  dts: { compilerOptions: { ignoreDeprecations: "6.0" } },
  sourcemap: true,
});
