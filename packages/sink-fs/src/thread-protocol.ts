/** What the mover's two threads say to each other. */
import type { NewFile, ReadRequest, ReadResult, WriteRequest } from "./mover";

export type ToThread =
  | { readonly kind: "begin"; readonly file: NewFile }
  | { readonly kind: "end"; readonly file: number }
  | { readonly kind: "write"; readonly call: number; readonly request: WriteRequest }
  | { readonly kind: "read"; readonly call: number; readonly request: ReadRequest };

export type FromThread = { readonly call: number } & (
  | { readonly result: readonly string[] | ReadResult }
  | { readonly error: PortableError }
);

/** An error as it crosses threads: a clone of an Error loses its `code` and `syscall`. */
export interface PortableError {
  readonly message: string;
  readonly fields: { readonly code?: unknown; readonly syscall?: unknown };
}

export function toPortable(error: unknown): PortableError {
  if (!(error instanceof Error)) return { message: String(error), fields: {} };
  const { code, syscall } = error as Error & PortableError["fields"];
  return { message: error.message, fields: { code, syscall } };
}

export function fromPortable({ message, fields }: PortableError): Error {
  return Object.assign(new Error(message), fields.code === undefined ? {} : fields);
}
