import { listCheckpoints, type Verification, verifyCheckpoint } from "@holdfast/core";
import { Command } from "commander";
import { DamageFound } from "../exit";
import { count, formatBytes } from "../format";
import { print, printJson } from "../output";
import { type CheckpointPlace, type Kind, nameOf, type RootPlace, withPlace } from "../places";
import { withProgress } from "../progress";

type Verified = Verification & { readonly kind: Kind };

export function verify(signal: AbortSignal): Command {
  return new Command("verify")
    .summary("read every byte, and check every digest and rule")
    .description(
      `Reads CKPT, or every checkpoint of a ROOT, and names each tensor and file
that is damaged. boostr's and Hugging Face's carry no digests: of those
the rules of the format are checked. Exit code 1 if anything is wrong.`,
    )
    .argument("<ckpt|root>", "a directory, an archive, - for an archive on standard input, or a root")
    .option("--json", "for machines")
    .addHelpText(
      "after",
      "\nExamples:\n  holdfast verify checkpoints\n  holdfast verify checkpoints/step-00000500 --json",
    )
    .action((path: string, options: { readonly json?: boolean }) =>
      withPlace(path, signal, async (place) => {
        const found: Verified[] = [];
        for (const checkpoint of "root" in place
          ? await checkpointsIn(place.root, signal)
          : [place.checkpoint]) {
          const { kind } = checkpoint;
          const verified = { ...(await verifyOne(checkpoint, signal)), kind };
          if (!options.json) print(describe(verified));
          found.push(verified);
        }
        if (options.json) printJson({ path, checkpoints: found });
        else if (found.length === 0) print(`there are no checkpoints in ${path}`);
        const damaged = found.filter(({ problems }) => problems.length > 0);
        if (damaged.length > 0) throw new DamageFound();
      }),
    );
}

function verifyOne(checkpoint: CheckpointPlace, signal: AbortSignal): Promise<Verification> {
  const { sink, id } = checkpoint;
  return withProgress(nameOf(checkpoint), (onProgress) => verifyCheckpoint(sink, id, { signal, onProgress }));
}

/** What is being written is nobody's yet. */
async function checkpointsIn({ sinks }: RootPlace, signal: AbortSignal): Promise<readonly CheckpointPlace[]> {
  const places: CheckpointPlace[] = [];
  for (const { kind, sink } of sinks) {
    for (const { id, state } of await listCheckpoints(sink, { signal }))
      if (state !== "in-progress") places.push({ kind, sink, id });
  }
  return places;
}

function describe({ id, kind, verified, byteLength, tensors, problems }: Verified): string {
  const name = nameOf({ kind, id });
  const what = `${count(tensors, "tensor")}, ${formatBytes(byteLength)}`;
  if (problems.length === 0) {
    return verified ? `${name}: good (${what})` : `${name}: unverified, its format is in order (${what})`;
  }
  return [
    `${name}: ${count(problems.length, "problem")}`,
    ...problems.map(({ message }) => `  ${message}`),
  ].join("\n");
}
