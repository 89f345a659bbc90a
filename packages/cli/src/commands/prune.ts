import {
  HoldfastError,
  listCheckpoints,
  type Pruned,
  type PruneOptions,
  parseId,
  pruneCheckpoints,
} from "@holdfast/core";
import { Command } from "commander";
import { best, type Keeping, policiesOf, wholeNumber } from "../options";
import { print, printable, printJson } from "../output";
import { type CheckpointPlace, nameOf, type RootPlace, withRoot } from "../places";
import { withProgress } from "../progress";

interface Options extends Keeping {
  readonly dryRun?: boolean;
  readonly json?: boolean;
}

type KindOfRoot = RootPlace["sinks"][number];
type Named = Pick<CheckpointPlace, "kind" | "id">;
type Kept = Named & Pruned["kept"][number];

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
        const kinds = await kindsIn(sinks, keeping, signal);
        const kept: Kept[] = [];
        const deleted: Named[] = [];
        const tell = (named: Named) => {
          deleted.push(named);
          if (!json) print(`${dryRun ? "would delete" : "deleted"}  ${nameOf(named)}`);
        };
        const run = ({ kind, sink }: KindOfRoot, options: Pick<PruneOptions, "dryRun" | "onDeleted">) =>
          withProgress(`reading the newest ${kind}`, (onProgress) =>
            pruneCheckpoints(sink, policies, { ...options, signal, onProgress }),
          );
        try {
          // Nothing of one kind goes before the other is known to have a good one.
          if (!dryRun && kinds.length > 1) for (const each of kinds) await run(each, { dryRun: true });
          for (const each of kinds) {
            const { kind, sink } = each;
            const pruned = await run(each, { dryRun, onDeleted: (id) => tell({ kind, id }) });
            if (dryRun) for (const id of pruned.deleted) tell({ kind, id });
            kept.push(...pruned.kept.map((stays) => ({ kind, ...stays })));
            await sink.close(); // the other kind's sink takes the same lock
          }
        } finally {
          // Whatever ended it: what was deleted is told.
          if (json) printJson({ root, dryRun, kept, deleted });
        }
        if (json) return;
        if (kinds.length === 0) print(`there are no checkpoints in ${printable(path)}`);
        for (const stays of kept)
          print(`keep  ${nameOf(stays)}  ${printable(stays.by.join(", ") || (stays.reason ?? ""))}`);
      }),
    );
}

/**
 * Those that have checkpoints.
 * @throws HoldfastError `INVALID_ARGUMENT` for a metric that none of them has: most likely it is mistyped
 */
async function kindsIn(
  sinks: readonly KindOfRoot[],
  { keepBest = [] }: Keeping,
  signal: AbortSignal,
): Promise<readonly KindOfRoot[]> {
  const found: KindOfRoot[] = [];
  const metrics = new Set<string>();
  for (const each of sinks) {
    const listed = (await listCheckpoints(each.sink, { signal })).filter(({ id }) => parseId(id));
    if (listed.length > 0) found.push(each);
    for (const checkpoint of listed)
      for (const name of Object.keys(checkpoint.metrics ?? {})) metrics.add(name);
  }
  const unknown = found.length === 0 ? undefined : keepBest.find(({ metric }) => !metrics.has(metric));
  if (!unknown) return found;
  const known = metrics.size === 0 ? "none has any" : `there are ${[...metrics].join(", ")}`;
  throw new HoldfastError("INVALID_ARGUMENT", `no checkpoint has the metric ${unknown.metric}: ${known}`);
}
