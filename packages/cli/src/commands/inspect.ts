import { type CheckpointContents, inspectCheckpoint, isDType } from "@holdfast/core";
import { Command, InvalidArgumentError } from "commander";
import picomatch from "picomatch";
import { count, formatAge, formatBytes, formatMetrics } from "../format";
import { print, printable, printJson, table } from "../output";
import { withCheckpoint } from "../places";

interface Options {
  readonly group?: string;
  readonly name?: string;
  readonly dtype?: string;
  readonly json?: boolean;
}

type Tensor = CheckpointContents["tensors"][number];

export function inspect(signal: AbortSignal): Command {
  return new Command("inspect")
    .summary("show what lies in a checkpoint")
    .description(
      "Shows the tensors of CKPT, and the training state and metrics beside them.\nReads no tensor.",
    )
    .argument("<ckpt>", "a directory, an archive, or - for an archive on standard input")
    .option("-g, --group <group>", "only tensors of this group")
    .option("-n, --name <pattern>", "only tensors whose name matches: 'layers.*.weight'", pattern)
    .option("-d, --dtype <dtype>", "only tensors of this dtype: F32", dtype)
    .option("--json", "for machines")
    .addHelpText(
      "after",
      `
Examples:
  holdfast inspect checkpoints/step-00000500
  holdfast inspect step-00000500.tar --group optimizer --name '*.m'
  ssh host cat step-00000500.tar | holdfast inspect - --json`,
    )
    .action((path: string, { json, ...filter }: Options) =>
      withCheckpoint(path, signal, async ({ sink, id }) => {
        const contents = await inspectCheckpoint(sink, { id }, { signal });
        const tensors = contents.tensors.filter(matching(filter));
        if (json) printJson({ ...contents, tensors });
        else print([summary(contents), tensorsOf(tensors, contents), beside(contents)].join("\n\n"));
      }),
    );
}

function pattern(text: string): string {
  if (text !== "") return text;
  throw new InvalidArgumentError("A pattern is needed, such as 'layers.*.weight'.");
}

function dtype(text: string): string {
  const known = text.toUpperCase();
  if (isDType(known)) return known;
  throw new InvalidArgumentError(`${text} is no dtype of safetensors, such as F32, BF16 or I64.`);
}

function matching({ group, name, dtype }: Omit<Options, "json">): (tensor: Tensor) => boolean {
  const named = name === undefined ? () => true : picomatch(name, { bash: true, dot: true });
  return (tensor) =>
    (group === undefined || tensor.group === group) &&
    (dtype === undefined || tensor.dtype === dtype) &&
    named(tensor.name);
}

function summary(contents: CheckpointContents): string {
  const { id, step, createdAt, byteLength, worldSize, groups, verified, metrics } = contents;
  const lines: [string, string | undefined][] = [
    ["checkpoint", `${printable(id)}${verified ? "" : " (unverified: no digest vouches for it)"}`],
    ["step", step?.toString()],
    ["saved", createdAt && `${createdAt} (${formatAge(createdAt)} ago)`],
    ["size", byteLength === undefined ? undefined : formatBytes(byteLength)],
    ["groups", printable(groups.join(", "))],
    ["ranks", worldSize?.toString()],
    ["metrics", metrics && formatMetrics(metrics)],
  ];
  return lines.flatMap(([name, value]) => (value ? [`${name.padEnd(10)}  ${value}`] : [])).join("\n");
}

function tensorsOf(shown: readonly Tensor[], { tensors }: CheckpointContents): string {
  const rows = shown.map(({ group, name, dtype, shape, byteLength, shards, tiedTo }) => [
    group,
    name,
    dtype,
    `[${shape.join(", ")}]`,
    formatBytes(byteLength),
    tiedTo ? `as ${tiedTo.group}/${tiedTo.name}` : filesOf(shards),
  ]);
  const all = shown.length === tensors.length ? "" : ` of ${tensors.length.toLocaleString("en")}`;
  const bytes = shown.reduce((sum, { byteLength, tiedTo }) => sum + (tiedTo ? 0 : byteLength), 0);
  const total = `${count(shown.length, "tensor")}${all}, ${formatBytes(bytes)}`;
  return rows.length === 0
    ? total
    : `${table(["GROUP", "NAME", "DTYPE", "SHAPE", "SIZE", "FILE"], rows)}\n${total}`;
}

/** The files of one tensor. */
function filesOf(shards: Tensor["shards"]): string {
  const [first = "", ...others] = new Set(shards.map(({ path }) => path));
  return others.length === 0 ? first : `${first} and ${others.length} more`;
}

function beside({ training, extra }: CheckpointContents): string {
  const said = extra === undefined ? { training } : { training, extra };
  return JSON.stringify(said, null, 2).split("\n").map(printable).join("\n");
}
