/** What the two threads say to each other. */
import type { PortableError } from "./portable-error";
import type { SinkHost } from "./sink-host";

export type Method = keyof SinkHost;

export interface Call {
  readonly call: number;
  readonly method: Method;
  readonly args: readonly unknown[];
}

export type Answer = { readonly call: number } & (
  | { readonly result: unknown }
  | { readonly error: PortableError }
);
