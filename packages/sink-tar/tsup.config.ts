import { defineConfig } from "tsup";

const shared = { format: "esm", sourcemap: true } as const;

export default defineConfig([
  {
    ...shared,
    target: "node20",
    entry: ["src/index.ts"],
    dts: { compilerOptions: { ignoreDeprecations: "6.0" } },
  },
  { ...shared, target: "es2022", platform: "browser", entry: ["src/browser.ts"] },
]);
