import { createRequire } from "node:module";
import { defineConfig } from "tsup";

const require = createRequire(import.meta.url);
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
    // What tar-stream is made of asks for Node's modules by `require`.
    banner: {
      js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);',
    },
  },
  {
    ...shared,
    target: "es2022",
    platform: "browser",
    entry: ["src/browser.ts"],
    // Whole but for core: tar-stream asks for `events`, which a browser has not, unless it is given another.
    noExternal: ["tar-stream"],
    esbuildOptions: (options) => {
      options.alias = { "events-universal": require.resolve("bare-events") };
    },
  },
]);
