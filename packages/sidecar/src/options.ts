/** The command line, which python/holdfast/checkpointer.py writes. */
import { parseArgs } from "node:util";
import { HoldfastError, keepBest, keepLast, MiB, messageOf, type RetentionPolicy } from "@holdfast/core";

const USAGE = `holdfast-sidecar ROOT [--device N] [--keep-last N] [--keep-best METRIC[:N[:min|max]]]… [--host-memory BYTES] [--timeout SECONDS]

Saves the tensors of a trainer in another process to checkpoints in the directory ROOT. It is started by
the Python module of this package, and told on standard input what to save.`;

export interface SidecarOptions {
  readonly root: string;
  readonly device: number;
  readonly retention: readonly RetentionPolicy[];
  /** Bytes. */
  readonly host: number;
  /** Milliseconds, as core has it; undefined for core's default. */
  readonly timeout: number | undefined;
}

/** @throws HoldfastError `INVALID_ARGUMENT` */
export function optionsOf(parameters: readonly string[]): SidecarOptions {
  const { values, positionals } = parsed(parameters);
  const [root, ...others] = positionals;
  if (root === undefined || others.length > 0) throw invalid("one directory has to be named");
  const { "keep-last": last, "keep-best": best = [] } = values;
  return {
    root,
    device: count("--device", values.device ?? "0", 0),
    retention: [
      ...(last === undefined ? [] : [keepLast(count("--keep-last", last, 1))]),
      ...best.map(bestOf),
    ],
    host: count("--host-memory", values["host-memory"] ?? String(256 * MiB), 1),
    timeout: values.timeout === undefined ? undefined : milliseconds(values.timeout),
  };
}

function parsed(parameters: readonly string[]) {
  try {
    return parseArgs({
      args: [...parameters],
      allowPositionals: true,
      options: {
        device: { type: "string" },
        "keep-last": { type: "string" },
        "keep-best": { type: "string", multiple: true },
        "host-memory": { type: "string" },
        timeout: { type: "string" },
      },
    });
  } catch (error) {
    throw invalid(messageOf(error));
  }
}

function count(name: string, text: string, least: number): number {
  const number = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(number) && number >= least) return number;
  throw invalid(`${name} is ${text}; it has to be a whole number ≥ ${least}`);
}

/** Of seconds as Python writes a number: 0.5, 1e-05, inf. */
function milliseconds(text: string): number {
  const seconds = text === "inf" ? Number.POSITIVE_INFINITY : Number(text);
  if (/^(inf|[\d.]+(e[+-]?\d+)?)$/.test(text) && seconds > 0) return seconds * 1000;
  throw invalid(`--timeout is ${text}; it has to be seconds > 0, or inf for none`);
}

/** `loss`, `loss:3`, `accuracy:1:max`: as the command line of @holdfast/cli has it. */
function bestOf(text: string): RetentionPolicy {
  const [, metric = "", n = "1", which] = /^(.+?)(?::(\d+))?(?::(min|max))?$/.exec(text) ?? [];
  return keepBest(metric, count("--keep-best", n, 1), which === "max" ? "max" : "min");
}

function invalid(rule: string): HoldfastError {
  return new HoldfastError("INVALID_ARGUMENT", `${rule}\n\n${USAGE}`);
}
