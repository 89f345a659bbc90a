/** Values of options, checked. */
import { HoldfastError, keepBest, keepEvery, keepLast, type RetentionPolicy } from "@holdfast/core";
import { InvalidArgumentError } from "commander";

const UNITS: Readonly<Record<string, number>> = {
  "": 1,
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KIB: 2 ** 10,
  MIB: 2 ** 20,
  GIB: 2 ** 30,
  TIB: 2 ** 40,
};

/** `5GB` is 5,000,000,000 bytes, as Hugging Face counts; `5GiB` are 5 · 2^30. */
export function bytes(text: string): number {
  const [, number = "", unit = ""] = /^(\d+(?:\.\d+)?)\s*([A-Za-z]*)$/.exec(text.trim()) ?? [];
  const size = Number(number) * (UNITS[unit.toUpperCase()] ?? Number.NaN);
  if (number !== "" && size >= 1) return Math.floor(size);
  throw new InvalidArgumentError(`${text} is no size, such as 5GB, 512MiB or 4096.`);
}

export function wholeNumber(text: string): number {
  const number = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(number) && number >= 1) return number;
  throw new InvalidArgumentError(`${text} is no whole number from 1.`);
}

export function list(text: string): readonly string[] {
  return text.split(",").map((part) => part.trim());
}

/** `layer.weight=0,embed=1`: a dimension for each name. */
export function splitDims(text: string): Readonly<Record<string, number>> {
  const dims = list(text).map((part) => {
    const [, name = "", dim = ""] = /^(.+)=(\d+)$/.exec(part) ?? [];
    if (name !== "") return [name, Number(dim)] as const;
    throw new InvalidArgumentError(`${part} names no dimension, as layer.weight=0 does.`);
  });
  return Object.fromEntries(dims);
}

export interface Best {
  readonly metric: string;
  readonly n: number;
  readonly which: "min" | "max";
}

/** `loss`, `loss:3`, `accuracy:1:max`; the option may come several times. */
export function best(text: string, before: readonly Best[] = []): readonly Best[] {
  const [, metric, n = "1", which = "min"] = /^([^:]+)(?::(\d+))?(?::(min|max))?$/.exec(text) ?? [];
  if (metric === undefined) {
    throw new InvalidArgumentError(`${text} is no metric, such as loss, loss:3 or accuracy:1:max.`);
  }
  return [...before, { metric, n: wholeNumber(n), which: which === "max" ? "max" : "min" }];
}

export interface Keeping {
  readonly keepLast?: number;
  readonly keepEvery?: number;
  readonly keepBest?: readonly Best[];
}

/** @throws HoldfastError `INVALID_ARGUMENT` if there is none: that is, nothing to keep. */
export function policiesOf({
  keepLast: last,
  keepEvery: every,
  keepBest: bests = [],
}: Keeping): readonly RetentionPolicy[] {
  const policies = [
    ...(last === undefined ? [] : [keepLast(last)]),
    ...(every === undefined ? [] : [keepEvery(every)]),
    ...bests.map(({ metric, n, which }) => keepBest(metric, n, which)),
  ];
  if (policies.length > 0) return policies;
  const message = "say what to keep: --keep-last 3, --keep-every 1000, --keep-best loss";
  throw new HoldfastError("INVALID_ARGUMENT", message);
}
