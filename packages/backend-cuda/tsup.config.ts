import { defineConfig } from "tsup";

export default defineConfig({
  entry: { index: "src/index.ts", ipc: "src/ipc/index.ts" },
  format: "esm",
  clean: true,
  target: "es2022",
  platform: "node",
  dts: { compilerOptions: { ignoreDeprecations: "6.0" } },
  sourcemap: true,
});
