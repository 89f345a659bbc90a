/** Values of options, checked. */
import { keepBest, keepEvery, keepLast, type RetentionPolicy } from "@holdfast/core";
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

/** `loss`, `loss:3`, `accuracy:1:max`; the option may come several times. */
export function best(text: string, before: readonly RetentionPolicy[] = []): readonly RetentionPolicy[] {
  const [, metric = "", n = "1", which = "min"] = /^(.+?)(?::(\d+))?(?::(min|max))?$/.exec(text) ?? [];
  return [...before, keepBest(metric, wholeNumber(n), which === "max" ? "max" : "min")];
}

export interface Keeping {
  readonly keepLast?: number;
  readonly keepEvery?: number;
  readonly keepBest?: readonly RetentionPolicy[];
}

export function policiesOf({
  keepLast: last,
  keepEvery: every,
  keepBest: best = [],
}: Keeping): readonly RetentionPolicy[] {
  return [
    ...(last === undefined ? [] : [keepLast(last)]),
    ...(every === undefined ? [] : [keepEvery(every)]),
    ...best,
  ];
}
