import type { Answer } from "../run-child";

/** What every child is told beside its own options. */
export interface Place {
  /** It exists, and others of the same group write there as well. */
  readonly dir: string;
  /** It is killed after so long. */
  readonly limitMs: number;
}

/** The whole of a child: takes its options, measures, prints one line, ends. */
export async function answer<O extends object>(
  measure: (options: O & Place) => Promise<Answer>,
): Promise<void> {
  const options: O & Place = JSON.parse(process.argv[2] ?? "");
  const line = JSON.stringify(await measure(options));
  // Pools, workers and devices may be left over: they end with the process.
  process.stdout.write(`${line}\n`, () => process.exit());
}

/** How fast `bytes` went in `ms`, in GB/s: a figure that most children have. */
export function gbPerS(bytes: number, ms: number): number {
  return bytes / 1e6 / ms;
}
