import { join } from "node:path";
import {
  HoldfastError,
  isHoldfastError,
  listCheckpoints,
  type Verification,
  verifyCheckpoint,
} from "@holdfast/core";
import { Command } from "commander";
import { DamageFound } from "../exit";
import { count, formatBytes } from "../format";
import { print, printable, printJson } from "../output";
import { type CheckpointPlace, nameOf, type RootPlace, withPlace } from "../places";
import { withProgress } from "../progress";

/** What was found, or why nothing could be. */
type Outcome = Named & (Verification | { readonly error: Pick<HoldfastError, "code" | "message"> });
type Named = Pick<CheckpointPlace, "kind" | "id">;

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
        const checkpoints = "root" in place ? await checkpointsIn(place.root, signal) : [place.checkpoint];
        const outcomes: Outcome[] = [];
        try {
          for (const checkpoint of checkpoints) {
            const outcome = await verifyOne(checkpoint, "root" in place, signal);
            if (!outcome) continue;
            if (!options.json) print(describe(outcome));
            outcomes.push(outcome);
          }
        } finally {
          if (options.json) printJson({ path, checkpoints: outcomes });
        }
        if (outcomes.some(isDamaged)) throw new DamageFound();
        if (outcomes.length === 0)
          throw new HoldfastError("CHECKPOINT_NOT_FOUND", `there are no checkpoints in ${path}`);
        if (!outcomes.every(isJudged)) {
          throw new HoldfastError("UNSUPPORTED", "not every checkpoint could be verified");
        }
      }),
    );
}

/** Amid others, one that cannot be read is no reason to leave out the rest; undefined if it is gone by now. */
async function verifyOne(
  { sink, kind, id }: CheckpointPlace,
  amidOthers: boolean,
  signal: AbortSignal,
): Promise<Outcome | undefined> {
  try {
    const verification = await withProgress(nameOf({ kind, id }), (onProgress) =>
      verifyCheckpoint(sink, id, { signal, onProgress }),
    );
    return { kind, ...verification };
  } catch (error) {
    if (!amidOthers || signal.aborted || !isHoldfastError(error)) throw error;
    if (error.code === "CHECKPOINT_NOT_FOUND") return undefined;
    return { kind, id, error: { code: error.code, message: error.message } };
  }
}

/** What a newer version wrote, this one cannot judge. */
const BEYOND_US: readonly string[] = ["SCHEMA_TOO_NEW", "UNSUPPORTED"];

function isDamaged(outcome: Outcome): boolean {
  return "problems" in outcome && outcome.problems.some(({ code }) => !BEYOND_US.includes(code));
}

function isJudged(outcome: Outcome): boolean {
  return "problems" in outcome && !outcome.problems.some(({ code }) => BEYOND_US.includes(code));
}

/** What is being written is nobody's yet. */
async function checkpointsIn(
  { path, sinks }: RootPlace,
  signal: AbortSignal,
): Promise<readonly CheckpointPlace[]> {
  const places: CheckpointPlace[] = [];
  for (const { kind, sink } of sinks) {
    for (const { id, state } of await listCheckpoints(sink, { signal }))
      if (state !== "in-progress") places.push({ path: join(path, nameOf({ kind, id })), kind, sink, id });
  }
  return places;
}

function describe(outcome: Outcome): string {
  const name = nameOf(outcome);
  if ("error" in outcome) return `${name}: could not be read\n  ${printable(outcome.error.message)}`;
  const { verified, byteLength, tensors, problems } = outcome;
  const what = `${count(tensors, "tensor")}, ${formatBytes(byteLength)}`;
  if (problems.length === 0) {
    return verified ? `${name}: good (${what})` : `${name}: unverified, its format is in order (${what})`;
  }
  return [
    `${name}: ${count(problems.length, "problem")}`,
    ...problems.map(({ message }) => `  ${printable(message)}`),
  ].join("\n");
}
