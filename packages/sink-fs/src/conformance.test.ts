import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sinkConformance } from "@holdfast/core/conformance";
import { describe, test } from "vitest";
import { fsSink } from "./index";

sinkConformance(
  { describe, test },
  {
    name: "fsSink",
    capabilities: fsSink("unused").capabilities,
    async create() {
      const directory = await mkdtemp(join(tmpdir(), "holdfast-"));
      const root = join(directory, "checkpoints");
      return {
        sink: fsSink(root),
        reopen: async () => fsSink(root),
        join: async () => fsSink(root),
        dispose: () => rm(directory, { recursive: true }),
      };
    },
  },
);
