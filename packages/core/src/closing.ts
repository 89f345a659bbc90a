/** How things are given back: all of them, whatever fails on the way, and in bounded time. */
import { asHoldfastError, HoldfastError } from "./errors";
import { rejectAfter } from "./signals";
import type { Sink } from "./sink";

/** How many checkpointers use a sink: the last one closes it. */
const users = new WeakMap<Sink, number>();

export function useSink(sink: Sink): void {
  users.set(sink, (users.get(sink) ?? 0) + 1);
}

/** Closes the sink, unless another checkpointer uses it still. */
export async function leaveSink(sink: Sink): Promise<void> {
  const left = (users.get(sink) ?? 1) - 1;
  users.set(sink, left);
  if (left === 0) await sink.close();
}

/** Takes each step, however the others went, waiting `timeout` ms for each at most; returns what failed. */
export async function failuresOf(
  steps: readonly (() => unknown)[],
  timeout: number,
): Promise<readonly HoldfastError[]> {
  const late = () => new HoldfastError("TIMEOUT", `closing took more than ${timeout} ms; given up`);
  const taken = steps.map((step) => rejectAfter((async () => step())(), timeout, late));
  const failed = (await Promise.allSettled(taken)).filter((result) => result.status === "rejected");
  return failed.map(({ reason }) => asHoldfastError(reason, "SINK_FAILED", "closing"));
}

/** One error for several; the first gives its code. */
export function together(errors: readonly HoldfastError[]): HoldfastError | undefined {
  const [first, ...rest] = errors;
  if (!first || rest.length === 0) return first;
  const messages = errors.map(({ message }) => message).join("; ");
  return new HoldfastError(first.code, messages, { cause: new AggregateError(errors, messages) });
}
