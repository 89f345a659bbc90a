import {
  type Converted,
  convertCheckpoint,
  HoldfastError,
  type RanksToWrite,
  replicated,
  tensorParallel,
  zeroPartitioned,
} from "@holdfast/core";
import { tarSink } from "@holdfast/sink-tar";
import { Command, Option } from "commander";
import { count, formatBytes } from "../format";
import { bytes, list, splitDims, wholeNumber } from "../options";
import { printable, printJson, remark } from "../output";
import { type CheckpointPlace, withCheckpoint, withTarget } from "../places";
import { withProgress } from "../progress";

interface Options {
  readonly format: "holdfast" | "hf" | "boostr";
  readonly groups?: readonly string[];
  readonly maxShardSize?: number;
  readonly ranks?: number;
  readonly policy: "replicated" | "zero" | "tensor-parallel";
  readonly splitDims?: Readonly<Record<string, number>>;
  readonly json?: boolean;
}

export function convert(signal: AbortSignal): Command {
  return new Command("convert")
    .summary("write a checkpoint as a directory, an archive, or in another format")
    .description(
      `Writes SRC to DST: an archive if DST ends in .tar or is -, a directory
otherwise. Every block is checked on the way, and DST is there whole or not
at all; SRC stays as it is. Formats:
  holdfast   everything, with digests
  hf         safetensors as transformers' save_pretrained lays them down:
             the group 'model', unless --groups says otherwise (a single
             group is called model then, whatever its name)
  boostr     model, optimizer and training state, as boostr reads them:
             floating-point tensors become F32
What several ranks wrote becomes one rank's, and with --ranks what as many
would have written; any number of ranks can restore either.`,
    )
    .argument("<src>", "a directory, an archive, or - for an archive on standard input")
    .argument(
      "<dst>",
      "what to write: a directory, a name that ends in .tar, or - for an archive on standard output",
    )
    .addOption(
      new Option("-f, --format <format>", "the format to write")
        .choices(["holdfast", "hf", "boostr"])
        .default("holdfast"),
    )
    .option("-g, --groups <groups>", "only these groups, separated by commas", list)
    .option(
      "--max-shard-size <size>",
      "split groups larger than this over several files (default: 5GB)",
      bytes,
    )
    .option(
      "-r, --ranks <n>",
      "as so many ranks would have saved it, in DST/rank_0 and so on (holdfast only)",
      wholeNumber,
    )
    .addOption(
      new Option("-p, --policy <policy>", "with --ranks: how tensors lie across them")
        .choices(["replicated", "zero", "tensor-parallel"])
        .default("replicated"),
    )
    .option(
      "--split-dims <dims>",
      "with tensor-parallel: along which dimension each parameter is cut, as name=dim,name=dim",
      splitDims,
    )
    .option("--json", "for machines: what was written, on standard output (on standard error if DST is -)")
    .addHelpText(
      "after",
      `
Examples:
  holdfast convert checkpoints/step-00000500 step-00000500.tar
  holdfast convert step-00000500.tar checkpoints/step-00000500
  holdfast convert checkpoints/step-00000500 my-model --format hf --max-shard-size 2GB
  holdfast convert checkpoints/step-00000500 on-4/step-00000500 --ranks 4
  holdfast convert checkpoints/step-00000500 - | ssh host 'cat > step-00000500.tar'`,
    )
    .action((src: string, dst: string, options: Options) =>
      withCheckpoint(src, signal, async (source) => {
        const { sink, id } = source;
        const { format, groups, maxShardSize: maxShardBytes, json } = options;
        if (format === "boostr" && maxShardBytes !== undefined) {
          throw new HoldfastError("INVALID_ARGUMENT", "boostr knows no shards: leave --max-shard-size out");
        }
        const ranks = ranksToWrite(dst, options);
        const converted = await withDestination(dst, source, (to) =>
          withProgress(id, (onProgress) =>
            convertCheckpoint({ sink, id }, to, {
              format,
              signal,
              onProgress,
              ...(groups && { groups }),
              ...(ranks && { ranks }),
              ...(maxShardBytes !== undefined && { maxShardBytes }),
            }),
          ),
        );
        if (json && dst !== "-") printJson(converted);
        else remark(json ? JSON.stringify(converted) : describe(dst, converted));
      }),
    );
}

/** Undefined for one rank. @throws HoldfastError `INVALID_ARGUMENT` */
function ranksToWrite(dst: string, { ranks, policy, splitDims: dims }: Options): RanksToWrite | undefined {
  const refuse = (rule: string) => new HoldfastError("INVALID_ARGUMENT", rule);
  if (dims && policy !== "tensor-parallel") throw refuse("--split-dims goes with --policy tensor-parallel");
  if (ranks === undefined) {
    if (policy === "replicated") return undefined;
    throw refuse(`--policy ${policy} says how tensors lie across ranks: say how many, by --ranks`);
  }
  if (dst === "-" || dst.endsWith(".tar"))
    throw refuse("an archive is one rank's: with --ranks, DST is a directory");
  if (policy === "replicated") return { worldSize: ranks, sharding: replicated() };
  if (policy === "zero") return { worldSize: ranks, sharding: zeroPartitioned({ stage: 3 }) };
  if (dims) return { worldSize: ranks, sharding: tensorParallel({ splitDims: dims }) };
  throw refuse("--policy tensor-parallel needs --split-dims, such as layer.weight=0,embed=1");
}

function withDestination<R>(
  dst: string,
  source: CheckpointPlace,
  use: (to: Pick<CheckpointPlace, "sink"> & { readonly id?: string }) => Promise<R>,
): Promise<R> {
  if (dst !== "-") return withTarget(dst, source, use);
  if (process.stdout.isTTY) {
    throw new HoldfastError(
      "INVALID_ARGUMENT",
      "- writes an archive to standard output, and that is a terminal: pipe it somewhere",
    );
  }
  return use({ sink: tarSink({ open: () => process.stdout }) });
}

function describe(dst: string, converted: Converted): string {
  const { byteLength, tensors, groups, leftOut, cast, droppedTies, verified } = converted;
  const lines = [`${dst}: ${groups.join(", ")} (${count(tensors, "tensor")}, ${formatBytes(byteLength)})`];
  if (!verified) lines.push("the source carries no digests: only its format was checked");
  if (leftOut.length > 0) lines.push(`left out: ${leftOut.join(", ")}`);
  for (const [dtype, names = []] of Object.entries(cast))
    lines.push(`${count(names.length, "tensor")} converted from ${dtype}`);
  for (const { name, tiedTo } of droppedTies)
    lines.push(`left out: ${printable(name)}, which is tied to ${printable(tiedTo)}`);
  return lines.join("\n  ");
}
