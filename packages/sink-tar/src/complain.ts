import { type ErrorCode, HoldfastError } from "@holdfast/core";

/** Makes the error that says what is wrong with one entry; its name, where that is known, may be hostile too. */
export type Complain = (
  code: ErrorCode,
  problem: string,
  options?: { readonly name?: string; readonly cause?: unknown },
) => HoldfastError;

/** Names may be as long as a header. */
const MAX_NAME_LENGTH = 200;

/** @param at where in the archive the entry begins */
export function complainAbout(archive: string, at: number): Complain {
  return (code, problem, { name, cause } = {}) => {
    const entry = name === undefined ? "the entry" : `the entry ${quote(name)}`;
    return new HoldfastError(code, `${archive}: ${entry} at byte ${at} ${problem}`, { cause });
  };
}

/** A name as one line of text, whatever it holds. */
export function quote(name: string): string {
  return JSON.stringify(name.length > MAX_NAME_LENGTH ? `${name.slice(0, MAX_NAME_LENGTH)}…` : name);
}
