/** One configuration of a peer, in Python: python/peers.py measures as children/save.ts does. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { messageOf } from "../../../src/command-line";
import { answer } from "../../../src/kit/child";
import { runTool } from "../../../src/kit/tool";
import { namedTensors, type StateOptions } from "../kit/device-state";

export interface PeerOptions extends StateOptions {
  /** As python/peers.py knows it. */
  readonly peer: string;
  readonly python: string;
  readonly repeats: number;
}

await answer<PeerOptions>(async ({ dir, peer, python, repeats, ...shape }) => {
  const file = join(dir, "peer.json");
  await writeFile(file, JSON.stringify({ peer, dir, repeats, tensors: namedTensors(shape) }));
  const script = fileURLToPath(new URL("../python/peers.py", import.meta.url));
  try {
    const run = await runTool(python, [script, file]);
    if (run === "absent") return { skip: `there is no ${python}` };
    return JSON.parse(run.out.trimEnd().split("\n").at(-1) ?? "");
  } catch (error) {
    // A peer that does not work here is no failure of the bench's.
    return { skip: `it failed: ${lastLine(messageOf(error))}` };
  }
});

function lastLine(text: string): string {
  return text.trimEnd().split("\n").at(-1) ?? "";
}
