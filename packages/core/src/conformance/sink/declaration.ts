import type { SinkCapabilities } from "../../sink";
import { check, equal } from "../assert";
import type { SinkCases } from "./fixture";

/** What a sink says of itself, and what empty storage looks like. */
export function declaration({ test, capabilities }: SinkCases): void {
  test("declares its name, the protocol, and the capabilities it was said to have", async ({ sink }) => {
    check(sink.name.length > 0, "a sink has a name");
    equal(sink.protocol, 1, "a sink declares protocol 1");
    equal(pick(sink.capabilities), pick(capabilities), "`capabilities` are what the suite was told");
  });

  if (capabilities.list) {
    test("lists nothing in empty storage", async ({ sink }) => {
      equal(await sink.list(), [], "an absent root is empty");
      equal(await sink.list({ all: true }), [], "an absent root is empty");
    });
  }
}

/** All capabilities, in one order. */
function pick({
  read,
  list,
  delete: deletes,
  ranks,
  sharedMemory,
  gathers,
  digests,
}: SinkCapabilities): SinkCapabilities {
  return { read, list, delete: deletes, ranks, sharedMemory, gathers, digests };
}
