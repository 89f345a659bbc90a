import { defineConfig } from "tsup";

const shared = { format: "esm", sourcemap: true } as const;

export default defineConfig([
  {
    ...shared,
    target: "node20",
    entry: ["src/index.ts"],
    dts: { compilerOptions: { ignoreDeprecations: "6.0" } },
  },
  {
    ...shared,
    target: "node20",
    entry: ["src/thread.ts"],
    // Whole in itself, so that a bundle of somebody's needs nothing but this file beside it.
    noExternal: ["@holdfast/core", "tar-stream"],
    banner: {
      js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);',
    },
  },
  { ...shared, target: "es2022", platform: "browser", entry: ["src/browser.ts"] },
]);
