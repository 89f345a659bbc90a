import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sinkConformance } from "@holdfast/core/conformance";
import { describe, test } from "vitest";
import { tarSink } from "./index";
import { STREAMS } from "./testing/streams";

sinkConformance(
  { describe, test },
  {
    name: "tarSink in a directory",
    capabilities: tarSink("unused").capabilities,
    async create() {
      const directory = await mkdtemp(join(tmpdir(), "holdfast-"));
      const root = join(directory, "checkpoints");
      return {
        sink: tarSink(root),
        reopen: async () => tarSink(root),
        join: async () => tarSink(root),
        dispose: () => rm(directory, { recursive: true }),
      };
    },
  },
);

for (const [what, stream] of STREAMS) {
  sinkConformance(
    { describe, test },
    {
      name: `tarSink into ${what}`,
      capabilities: tarSink({ open: () => stream().stream }).capabilities,
      create: async () => ({ sink: tarSink({ open: () => stream().stream }) }),
    },
  );
}
