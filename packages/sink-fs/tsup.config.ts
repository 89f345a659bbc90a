import { defineConfig } from "tsup";

const shared = { format: "esm", target: "node20", sourcemap: true } as const;

export default defineConfig([
  { ...shared, entry: ["src/index.ts"], dts: { compilerOptions: { ignoreDeprecations: "6.0" } } },
  // Whole in itself, so that a bundle of somebody's needs nothing but this file beside it.
  { ...shared, entry: ["src/thread.ts"], noExternal: ["@holdfast/core"] },
]);
