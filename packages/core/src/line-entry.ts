/** A save in the line: what was asked for, and what became of it so far. */
import type { SaveJob } from "./save";
import { type NotCommitted, SaveHandle } from "./save-handle";
import type { Share } from "./share";
import type { SnapshotSet } from "./snapshot-set";
import type { FlatState } from "./state";

export interface LineRequest {
  readonly step: number;
  /** Counts the calls of `save`, from 1. */
  readonly ordinal: number;
  readonly state: FlatState;
  /** What of the state this rank writes. */
  readonly share: Share;
  readonly beside: SaveJob["beside"];
  readonly record: SaveJob["record"];
  readonly signal: AbortSignal | undefined;
  /** `performance.now()` when the caller asked. */
  readonly startedAt: number;
}

export interface Entry {
  readonly handle: SaveHandle;
  readonly request: LineRequest;
  snapshot: SnapshotSet | undefined;
  /** Whether its attempt was begun. */
  begun: boolean;
  /** Aborts, with the error, when its deadline has passed. */
  readonly late: AbortController;
  /** Aborts when there is no time for what follows the commit. */
  readonly hurry: AbortController;
}

export function newEntry(request: LineRequest): Entry {
  const handle = new SaveHandle(request.step);
  const [late, hurry] = [new AbortController(), new AbortController()];
  return { handle, request, snapshot: undefined, begun: false, late, hurry };
}

export function notCommitted(outcome: NotCommitted["outcome"], { snapshot, handle }: Entry): NotCommitted {
  return { outcome, id: undefined, bytes: 0, mode: snapshot?.mode, stallMs: handle.stallMs };
}
