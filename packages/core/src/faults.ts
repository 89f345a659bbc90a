/**
 * What is wrong with a checkpoint, told apart from storage that fails and from calls that cannot work; and what
 * becomes of it: the first fault ends the work, or all of them are noted.
 */
import { type HoldfastError, isHoldfastError } from "./errors";

/** What a fault is a fault of; of the checkpoint as a whole where nothing is named. */
export interface Place {
  /** Relative to the checkpoint. */
  readonly path?: string | undefined;
  readonly tensor?: { readonly group: string; readonly name: string } | undefined;
  /** One block of the tensor: its bytes `[start, end)`, and how many blocks there are. */
  readonly block?: { readonly start: number; readonly end: number; readonly of: number } | undefined;
}

/** Is told of one fault after another. If it throws, that ends the work; if it returns, the work goes on. */
export type Report = (fault: HoldfastError, place: Place) => void;

export const throwFirst: Report = (fault) => {
  throw fault;
};

/** Whether what is stored breaks a rule. */
export function isDamage(error: unknown): error is HoldfastError {
  return (
    isHoldfastError(error, "CHECKPOINT_CORRUPT") ||
    isHoldfastError(error, "SAFETENSORS_INVALID") ||
    isHoldfastError(error, "UNSAFE_PATH")
  );
}

/** Whether this version cannot judge what is stored: a newer one may find it good. */
export function isBeyondUs(error: unknown): error is HoldfastError {
  return isHoldfastError(error, "SCHEMA_TOO_NEW") || isHoldfastError(error, "UNSUPPORTED");
}

/** What `work` returns, or undefined if it came upon a fault of the checkpoint's, which is reported. */
export async function noting<R>(
  report: Report,
  place: Place,
  work: () => Promise<R>,
): Promise<R | undefined> {
  try {
    return await work();
  } catch (error) {
    if (!isDamage(error) && !isBeyondUs(error)) throw error;
    report(error, place);
    return undefined;
  }
}
