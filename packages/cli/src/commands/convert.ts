import { type Converted, convertCheckpoint, HoldfastError } from "@holdfast/core";
import { tarSink } from "@holdfast/sink-tar";
import { Command, Option } from "commander";
import { count, formatBytes } from "../format";
import { bytes, list } from "../options";
import { printable, printJson, remark } from "../output";
import { type CheckpointPlace, withCheckpoint, withTarget } from "../places";
import { withProgress } from "../progress";

interface Options {
  readonly format: "holdfast" | "hf" | "boostr";
  readonly groups?: readonly string[];
  readonly maxShardSize?: number;
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
             floating-point tensors become F32`,
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
    .option("--json", "for machines: what was written, on standard output (on standard error if DST is -)")
    .addHelpText(
      "after",
      `
Examples:
  holdfast convert checkpoints/step-00000500 step-00000500.tar
  holdfast convert step-00000500.tar checkpoints/step-00000500
  holdfast convert checkpoints/step-00000500 my-model --format hf --max-shard-size 2GB
  holdfast convert checkpoints/step-00000500 - | ssh host 'cat > step-00000500.tar'`,
    )
    .action((src: string, dst: string, options: Options) =>
      withCheckpoint(src, signal, async (source) => {
        const { sink, id } = source;
        const { format, groups, maxShardSize: maxShardBytes, json } = options;
        if (format === "boostr" && maxShardBytes !== undefined) {
          throw new HoldfastError("INVALID_ARGUMENT", "boostr knows no shards: leave --max-shard-size out");
        }
        const converted = await withDestination(dst, source, (to) =>
          withProgress(id, (onProgress) =>
            convertCheckpoint({ sink, id }, to, {
              format,
              signal,
              onProgress,
              ...(groups && { groups }),
              ...(maxShardBytes !== undefined && { maxShardBytes }),
            }),
          ),
        );
        if (json && dst !== "-") printJson(converted);
        else remark(json ? JSON.stringify(converted) : describe(dst, converted));
      }),
    );
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
