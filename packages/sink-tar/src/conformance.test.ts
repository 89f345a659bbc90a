import { sinkConformance } from "@holdfast/core/conformance";
import { describe, test } from "vitest";
import { tarSink } from "./index";
import { STREAMS } from "./testing/streams";

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
