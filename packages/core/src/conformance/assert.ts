/** Assertions whose messages say which rule of the contract was broken. */
import { type ErrorCode, isHoldfastError, messageOf } from "../errors";

/** @throws Error naming the rule, if `kept` is false */
export function check(kept: boolean, rule: string, found?: string): asserts kept {
  if (!kept) throw new Error(`broken rule: ${rule}${found === undefined ? "" : ` (${found})`}`);
}

/** Compares what JSON can say: numbers, strings, lists and plain objects with their keys in one order. */
export function equal<T>(actual: T, expected: T, rule: string): void {
  const [found, wanted] = [JSON.stringify(actual), JSON.stringify(expected)];
  check(found === wanted, rule, `expected ${wanted}, found ${found}`);
}

export function sameBytes(actual: Uint8Array, expected: Uint8Array, rule: string): void {
  const lengths = `expected ${expected.byteLength} bytes, found ${actual.byteLength}`;
  check(actual.byteLength === expected.byteLength, rule, lengths);
  const at = expected.findIndex((byte, i) => actual[i] !== byte);
  check(at < 0, rule, `byte ${at} is ${actual[at]}, where ${expected[at]} belongs`);
}

/** Waits for what the contract says resolves. */
export async function resolves<T>(outcome: Promise<T>, rule: string): Promise<T> {
  try {
    return await outcome;
  } catch (cause) {
    throw new Error(`broken rule: ${rule} (it rejected: ${messageOf(cause)})`, { cause });
  }
}

/** Waits for a rejection by a HoldfastError, of one of `codes` where there are any. */
export async function refuses(
  outcome: Promise<unknown>,
  rule: string,
  ...codes: readonly ErrorCode[]
): Promise<void> {
  const error = await rejection(outcome, rule);
  check(isHoldfastError(error), `${rule}: by a HoldfastError`, messageOf(error));
  const wanted = `${rule}: with ${codes.join(" or ")}`;
  check(codes.length === 0 || codes.includes(error.code), wanted, `${error.code}: ${error.message}`);
}

/** Waits for a rejection of any kind, and returns what it rejected with. */
export async function rejection(outcome: Promise<unknown>, rule: string): Promise<unknown> {
  const error = await outcome.then(
    () => undefined,
    (thrown: unknown) => ({ thrown }),
  );
  check(error !== undefined, rule, "it resolved");
  return error.thrown;
}

/** Whether `error` is `cause`, or was caused by it at any remove. */
export function isCausedBy(error: unknown, cause: unknown): boolean {
  if (error === cause) return true;
  return error instanceof Error && error.cause !== undefined && isCausedBy(error.cause, cause);
}
