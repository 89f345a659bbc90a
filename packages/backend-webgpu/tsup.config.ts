import { defineConfig } from "tsup";

export default defineConfig({
  entry: { index: "src/index.ts", jax: "src/jax.ts" },
  format: "esm",
  clean: true,
  target: "es2022",
  dts: { compilerOptions: { ignoreDeprecations: "6.0" } },
  sourcemap: true,
});
