import { HoldfastError, listCheckpoints, type Pruned, pruneCheckpoints } from "@holdfast/core";
import { Command } from "commander";
import { best, type Keeping, policiesOf, wholeNumber } from "../options";
import { print, printJson } from "../output";
import { type Kind, withRoot } from "../places";
import { withProgress } from "../progress";

interface Options extends Keeping {
  readonly dryRun?: boolean;
  readonly json?: boolean;
}

type PrunedKind = Pruned & { readonly kind: Kind };

export function prune(signal: AbortSignal): Command {
  return new Command("prune")
    .summary("delete checkpoints that no rule keeps")
    .description(
      `Deletes the checkpoints of ROOT that no rule keeps. First the newest good
one is read whole: it always stays, and only older ones go. Broken ones
stay: they are nobody's to count or to delete. Where directories and
archives lie in one root, each kind is pruned by itself.`,
    )
    .argument("<root>", "the directory that checkpoints lie in")
    .option("--keep-last <n>", "keep the newest N", wholeNumber)
    .option(
      "--keep-every <steps>",
      "keep one for every so many steps: the first at or after each multiple",
      wholeNumber,
    )
    .option(
      "--keep-best <metric[:n][:max]>",
      "keep the N with the lowest (or highest) value; may come several times",
      best,
    )
    .option("--dry-run", "only say what would be deleted")
    .option("--json", "for machines")
    .addHelpText(
      "after",
      `
Examples:
  holdfast prune checkpoints --keep-last 3 --dry-run
  holdfast prune checkpoints --keep-last 3 --keep-every 1000 --keep-best loss --keep-best accuracy:2:max`,
    )
    .action((path: string, { dryRun = false, json, ...keeping }: Options) =>
      withRoot(path, signal, async ({ path: root, sinks }) => {
        const policies = policiesOf(keeping);
        if (policies.length === 0) {
          throw new HoldfastError(
            "INVALID_ARGUMENT",
            "say what to keep: --keep-last 3, --keep-every 1000, --keep-best loss",
          );
        }
        const done: PrunedKind[] = [];
        for (const { kind, sink } of sinks) {
          if ((await listCheckpoints(sink, { signal })).length === 0) continue;
          const pruned = await withProgress("reading the newest", (onProgress) =>
            pruneCheckpoints(sink, policies, { dryRun, signal, onProgress }),
          );
          await sink.close(); // the other kind's sink takes the same lock
          done.push({ kind, ...pruned });
        }
        if (json)
          printJson({
            root,
            dryRun,
            kept: done.flatMap(named("kept")),
            deleted: done.flatMap(named("deleted")),
          });
        else
          print(
            done.length === 0
              ? `there are no checkpoints in ${path}`
              : done.map((kind) => describe(kind, dryRun)).join("\n"),
          );
      }),
    );
}

function named<K extends "kept" | "deleted">(key: K) {
  return (pruned: PrunedKind): Pruned[K][number][] => [...pruned[key]] as Pruned[K][number][];
}

function describe({ kept, deleted }: Pruned, dryRun: boolean): string {
  return [
    ...kept.map(({ id, by, reason }) => `keep    ${id}  ${by.join(", ") || (reason ?? "")}`),
    ...deleted.map((id) => `${dryRun ? "would delete" : "deleted"}  ${id}`),
  ].join("\n");
}
