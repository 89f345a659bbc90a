/** Where the system's errors become Holdfast's: the one place that maps them. */
import { HoldfastError } from "@holdfast/core";

/** An error of a file operation. */
interface SystemError extends Error {
  /** `ENOSPC` */
  readonly code: string;
  readonly syscall: string;
}

const ADVICE = {
  STORAGE_FULL: "Free space, or keep fewer checkpoints.",
  READ_ONLY: "Check the permissions and the mount.",
  SINK_FAILED: "Committed checkpoints were left alone.",
} as const;

/**
 * What to throw for `error`, which came up while this sink was to do something (`write step-00000100`).
 * Whatever is not the system's (an error of the source of chunks, an abort) stays as it is.
 */
export function storageError(error: unknown, doing: string, access: "read" | "write"): unknown {
  if (!isSystemError(error)) return error;
  const code = access === "read" ? "SINK_FAILED" : codeOf(error.code);
  return new HoldfastError(code, `could not ${doing}: ${error.message}. ${ADVICE[code]}`, { cause: error });
}

function codeOf(errno: string): keyof typeof ADVICE {
  switch (errno) {
    case "ENOSPC":
    case "EDQUOT":
      return "STORAGE_FULL";
    case "EROFS":
    case "EACCES":
    case "EPERM":
      return "READ_ONLY";
    default:
      return "SINK_FAILED";
  }
}

/** The code of a system error, or undefined for any other. */
export function errnoOf(error: unknown): string | undefined {
  return isSystemError(error) ? error.code : undefined;
}

function isSystemError(error: unknown): error is SystemError {
  return error instanceof Error && "syscall" in error && "code" in error && typeof error.code === "string";
}
