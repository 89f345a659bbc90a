import { type ListedCheckpoint, listCheckpoints, newestFirst } from "@holdfast/core";
import { Command } from "commander";
import { formatAge, formatBytes, formatMetrics } from "../format";
import { print, printable, printJson, table } from "../output";
import { type Kind, nameOf, withRoot } from "../places";

type Listed = ListedCheckpoint & { readonly kind: Kind };

export function ls(signal: AbortSignal): Command {
  return new Command("ls")
    .summary("list the checkpoints of a root")
    .description(
      `Lists the checkpoints in ROOT, newest first. Their states:
  good         committed, and every file is there ('verify' reads them)
  unverified   boostr's or Hugging Face's, which carry no digests, or
               more than this version can judge
  broken       no valid commit record, or files are missing
  in progress  being written, or left by a process that died ('sweep'
               removes those)`,
    )
    .argument("<root>", "the directory that they lie in")
    .option("--json", "for machines")
    .addHelpText(
      "after",
      "\nExamples:\n  holdfast ls checkpoints\n  holdfast ls checkpoints --json | jq '.checkpoints[0].metrics'",
    )
    .action((path: string, options: { readonly json?: boolean }) =>
      withRoot(path, signal, async ({ path: root, sinks }) => {
        const listed: Listed[] = [];
        for (const { kind, sink } of sinks) {
          for (const checkpoint of await listCheckpoints(sink, { signal }))
            listed.push({ ...checkpoint, kind });
        }
        listed.sort(byAge);
        if (options.json) printJson({ root, checkpoints: listed.map(plain) });
        else print(listed.length === 0 ? `there are no checkpoints in ${path}` : tableOf(listed));
      }),
    );
}

/** Newest first; behind them what has no step. */
function byAge(a: Listed, b: Listed): number {
  if (a.step === undefined || b.step === undefined) {
    return Number(a.step === undefined) - Number(b.step === undefined) || (a.id < b.id ? -1 : 1);
  }
  return newestFirst(
    { step: a.step, revision: a.revision ?? 1 },
    { step: b.step, revision: b.revision ?? 1 },
  );
}

function tableOf(listed: readonly Listed[]): string {
  const rows = listed.map((checkpoint) => {
    const { id, kind, step, createdAt, byteLength, groups, worldSize, metrics, state } = checkpoint;
    return [
      step === undefined ? "" : String(step),
      state.replace("-", " "),
      createdAt === undefined ? "" : formatAge(createdAt),
      byteLength === undefined ? "" : formatBytes(byteLength),
      groups?.join(", ") ?? "",
      worldSize === undefined ? "" : String(worldSize),
      metrics ? formatMetrics(metrics) : "",
      state === "in-progress" ? id : nameOf({ kind, id }),
    ];
  });
  const printed = table(["STEP", "STATE", "AGE", "SIZE", "GROUPS", "RANKS", "METRICS", "NAME"], rows);
  const problems = listed.flatMap(({ id, kind, problem }) =>
    problem ? [printable(`${nameOf({ kind, id })}: ${problem.message}`)] : [],
  );
  return [printed, ...(problems.length > 0 ? ["", ...problems] : [])].join("\n");
}

function plain({ problem, ...checkpoint }: Listed) {
  return { ...checkpoint, ...(problem && { problem: { code: problem.code, message: problem.message } }) };
}
