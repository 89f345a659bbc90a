/** A save with a deadline comes while another is being written: which of the two has to give way. */
import { HoldfastError } from "./errors";
import type { Pace } from "./pace";
import type { FlatState } from "./state";
import { byteLength } from "./tensor";

/** An estimate is trusted if there is a quarter of it to spare. */
const MARGIN = 1.25;

/**
 * For how many milliseconds the save that is being written may go on: 0 if it has to be aborted at once, because
 * only the new one fits; else until the new one just fits still. Undefined if it may go on to its end: nobody
 * knows how long saves take, or not even the new one fits, and then an older checkpoint is better than none.
 * @param deadline milliseconds from now
 */
export function timeToGoOn(
  deadline: number,
  pace: Pace,
  running: FlatState,
  next: FlatState,
): number | undefined {
  const [rest, whole] = [pace.left(bytesOf(running)), pace.expected(bytesOf(next))];
  if (rest === undefined || whole === undefined) return undefined;
  const latestStart = deadline - MARGIN * whole;
  if (latestStart < 0) return undefined;
  return MARGIN * rest > latestStart ? 0 : latestStart;
}

/** Of the tensors, each once; what else lies in a checkpoint is little. */
function bytesOf({ form }: FlatState): number {
  let bytes = 0;
  for (const { spec, tiedTo } of form.leaves) if (tiedTo === undefined) bytes += byteLength(spec);
  return bytes;
}

/** @param deadline the milliseconds that there were */
export function tooLate(step: number, deadline: number): HoldfastError {
  return new HoldfastError(
    "TIMEOUT",
    `step ${step}: not committed by the deadline of ${deadline} ms; given up`,
  );
}
