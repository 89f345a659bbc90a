/** Errors as they cross threads: a clone of an Error loses all but its message. */
import { type ErrorCode, HoldfastError, isHoldfastError } from "@holdfast/core";

export interface PortableError {
  readonly kind: "holdfast" | "other";
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  /** Of Holdfast's errors and the system's. */
  readonly code: unknown;
  /** Of the system's. */
  readonly syscall: unknown;
  readonly cause: PortableError | undefined;
}

export function toPortable(error: unknown): PortableError {
  const { name, message, stack, code, syscall, cause } = (
    error instanceof Error ? error : new Error(String(error))
  ) as Error & { readonly code?: unknown; readonly syscall?: unknown };
  return {
    kind: isHoldfastError(error) ? "holdfast" : "other",
    name,
    message,
    stack,
    code,
    syscall,
    cause: cause === undefined ? undefined : toPortable(cause),
  };
}

export function fromPortable(portable: PortableError): Error {
  const { kind, name, message, stack, code, syscall } = portable;
  const cause = portable.cause && fromPortable(portable.cause);
  const options = cause ? { cause } : {};
  const error =
    kind === "holdfast"
      ? new HoldfastError(code as ErrorCode, message, options)
      : Object.assign(new Error(message, options), { name });
  if (kind === "other" && code !== undefined) Object.assign(error, { code });
  if (syscall !== undefined) Object.assign(error, { syscall });
  if (stack !== undefined) error.stack = stack;
  return error;
}
