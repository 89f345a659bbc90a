/** Where one rank's part of an attempt lies: all that an attempt of one rank and one of several do differently. */
import type { AttemptStatus } from "@holdfast/core";
import type { Draft } from "./container";

/** The status of what nobody has begun. */
export const NOTHING: AttemptStatus = { finished: [], failed: [], committed: false };

export interface Place {
  /** What this rank writes into. */
  readonly draft: Draft;
  /** What the paths of its files begin with. */
  readonly prefix: string;
  /** Whether an entry of the root belongs to the attempt. */
  covers(name: string): boolean;
  /** What the draft holds is durable, and all that this rank writes: from here on it has finished. */
  finish(manifest: Uint8Array | undefined): Promise<void>;
  /** @throws HoldfastError `SINK_FAILED` naming the ranks that have not finished */
  assertComplete(): Promise<void>;
  /** Gathers what every rank has finished in one draft, an entry of the root that nobody else writes to any more. */
  gather(): Promise<Gathered>;
  /** What was gathered has become a checkpoint. */
  committed(): void;
  /** The attempt is over for this rank: removes what is its own to remove, whatever state it is in. */
  discard(): Promise<void>;
  mark(reason: string): Promise<void>;
  status(): Promise<AttemptStatus>;
  manifest(rank: number): Promise<Uint8Array>;
  /** Lets go of what is open. Idempotent. */
  close(): Promise<void>;
}

export interface Gathered {
  readonly draft: Draft;
  /** In the root. */
  readonly name: string;
}
