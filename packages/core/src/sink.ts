/**
 * A sink knows one kind of storage: it keeps the files of an attempt, and commits them at once or not
 * at all. It knows nothing of tensors or devices. What a checkpoint's files mean is core's affair: a sink
 * need not read them, only tell whether there is a commit record, `checkpoint.json`.
 */
import type { DigestAlgorithm } from "./digest";

/** What a sink can do. Core asks before it calls. */
export interface SinkCapabilities {
  /** `open` works. */
  readonly read: boolean;
  /** `list` works. */
  readonly list: boolean;
  /** `delete` and `sweep` work. */
  readonly delete: boolean;
  /** Several ranks may write one attempt, each from a process of its own. */
  readonly ranks: boolean;
  /** Chunks may lie in shared memory (a SharedArrayBuffer), because a worker writes them. */
  readonly sharedMemory: boolean;
  /** Chunks may come with `sources` in shared memory, because a worker copies them. */
  readonly gathers: boolean;
  /** The algorithms by which `write` computes digests itself; core does it for the others. */
  readonly digests: readonly DigestAlgorithm[];
}

/** One try at one checkpoint. Everything uncommitted lies under it, so that tries never mix. */
export interface Attempt {
  /** Equal on all ranks, new at each launch. */
  readonly runId: string;
  readonly step: number;
  /**
   * Counts this run's attempts, from 1, on each rank by itself. Of several ranks run and ordinal alone say which attempt
   * it is: those that differ in the step meet in one all the same, and are found out.
   */
  readonly ordinal: number;
  readonly worldSize: number;
}

/** What the paths of a rank's files begin with: nothing where there is one rank. */
export function rankPrefix(rank: number, worldSize: number): string {
  return worldSize === 1 ? "" : `rank_${rank}/`;
}

/** Host bytes on loan: use them, then release them; the loan is what bounds memory. */
export interface Chunk {
  readonly bytes: Uint8Array;
  /**
   * Where set, `bytes` holds nothing yet: first copy these there, one after another; they fill it exactly. They
   * too are on loan until `release`. Only what core lends to sinks that declare `gathers` has any.
   */
  readonly sources?: readonly Uint8Array[] | undefined;
  /** Idempotent. The bytes belong to somebody else from here on. */
  release(): void;
}

/** A file that is about to be written. */
export interface FilePlan {
  /** Relative to the checkpoint, with `/`: a name that `isSafePath` accepts; of several ranks each below its `rankPrefix`. */
  readonly path: string;
  /** In bytes; the chunks add up to exactly this. */
  readonly byteLength: number;
  /** Where blocks end, ascending, the last at `byteLength`: each is digested by itself. Empty for an empty file. */
  readonly blockEnds: readonly number[];
}

export interface WrittenFile {
  readonly path: string;
  readonly byteLength: number;
  /** One a block, in lower-case hex, where the sink computed them; core did otherwise. */
  readonly digests?: readonly string[];
}

export interface BeginOptions {
  /** What this rank is about to write in all: a sink refuses what cannot fit (`STORAGE_FULL`). */
  readonly byteLength?: number;
  /** The algorithm of `WrittenFile.digests`; set only if the sink's capabilities name it. */
  readonly digest?: DigestAlgorithm;
  readonly signal?: AbortSignal;
}

/** One rank's side of an attempt. Its calls come one after another, but for `abort`. */
export interface AttemptWriter {
  /**
   * Writes one file. Chunks come in order and are full but for the last; the sink releases each when it
   * has read it, and may hold several to overlap its writes. It stops at a chunk that throws.
   */
  write(plan: FilePlan, chunks: AsyncIterable<Chunk>): Promise<WrittenFile>;
  /**
   * Writes the rank's manifest, as `manifest.json` below its `rankPrefix`; none for what is written in somebody
   * else's format, which has no manifest and no commit record. On return everything of this rank is durable, and not
   * yet visible to readers; `status` says then that it has finished.
   */
  finish(manifest?: Uint8Array): Promise<void>;
  /**
   * Leaves a mark that tells the other ranks why this one failed: `status` of any rank shows it, until a `begin` of
   * rank 0 with a higher ordinal, a sweep, or the commit, which it does not hinder by itself.
   */
  fail(reason: string): Promise<void>;
  /**
   * Removes what this rank has written, but for its mark, and stops a `write` under way. Of several ranks it removes
   * nothing after `finish`: what has finished is rank 0's to commit or to remove, and rank 0 may be about to. After
   * the `finish` of a commit that happened it does nothing. Idempotent, and never rejects for what is already gone.
   */
  abort(): Promise<void>;
}

export interface RankFailure {
  readonly rank: number;
  readonly reason: string;
}

export interface AttemptStatus {
  /** The ranks that have finished, ascending: whatever they called their world's size. */
  readonly finished: readonly number[];
  readonly failed: readonly RankFailure[];
  readonly committed: boolean;
}

/** A file that is small enough to be passed whole. */
export interface SmallFile {
  readonly path: string;
  readonly bytes: Uint8Array;
}

export interface StoredFile {
  readonly path: string;
  readonly byteLength: number;
}

/** Blocks of what is being read, one behind the other, each to be digested by itself. */
export interface BlocksToDigest {
  readonly algorithm: DigestAlgorithm;
  /** Where in `into` the first block starts: the bytes before it belong to none. */
  readonly start: number;
  /** Where in `into` each block ends, ascending. */
  readonly ends: readonly number[];
}

export interface ReadOptions {
  /** What may be digested on the way, by a sink that reads elsewhere than on the caller's thread. */
  readonly digest?: BlocksToDigest | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Reads the files of one checkpoint. It goes on reading what it opened after the checkpoint was deleted. */
export interface CheckpointReader {
  readonly id: string;
  /** Every file, by path. Their names were checked: none leaves the checkpoint, none is a link. */
  readonly files: ReadonlyMap<string, StoredFile>;
  /**
   * Fills `into` with the file's bytes from `start` on. Returns one digest for each block of `options.digest`,
   * in lower-case hex, or undefined, which leaves that to core. Calls may overlap. Where much is read, core
   * asks for whole pages of 4 KiB, as far as the file goes: a sink may then read past the system's cache.
   * @throws HoldfastError `CHECKPOINT_CORRUPT` if the file ends before.
   */
  read(
    path: string,
    start: number,
    into: Uint8Array,
    options?: ReadOptions,
  ): Promise<readonly string[] | undefined>;
  /** Idempotent. */
  close(): Promise<void>;
}

/** What lies at one id. */
export interface StoredCheckpoint {
  readonly id: string;
  /**
   * - `committed`: an id of ours, with a commit record.
   * - `broken`: an id of ours, with none.
   * - `in-progress`: an attempt, live or left behind.
   * - `foreign`: whatever has another name, and can be opened by it: it need not be a checkpoint.
   */
  readonly state: "committed" | "broken" | "in-progress" | "foreign";
}

/** Knows one kind of storage. A factory function returns one; it serves one root. */
export interface Sink {
  /** For messages: `fs`, `memory`. */
  readonly name: string;
  /** The version of this contract. */
  readonly protocol: 1;
  readonly capabilities: SinkCapabilities;
  /**
   * Starts one rank's side of an attempt. Ranks begin in any order, each in a process of its own. Rank 0 takes the
   * root's lock, which `close` gives back, and removes what earlier attempts of the run have left; if it cannot begin
   * one of several ranks, it leaves a mark as `fail` does. Another rank that begins what rank 0 has already gone on from
   * is refused (`SINK_FAILED`): nobody would wait for it.
   * @throws HoldfastError `ROOT_LOCKED`, `STORAGE_FULL`, `READ_ONLY`, `ROOT_INVALID`, `SINK_FAILED`
   */
  begin(attempt: Attempt, rank: number, options?: BeginOptions): Promise<AttemptWriter>;
  /**
   * How an attempt of this run stands; a commit is remembered until the next `begin`, at least. Every rank asks, and
   * asks again: it costs as much as listing one name a rank.
   * @throws HoldfastError `SINK_FAILED` if this sink has begun a rank of it and it is neither there nor committed
   */
  status(attempt: Attempt): Promise<AttemptStatus>;
  /** The manifest with which a rank has finished. */
  manifest(attempt: Attempt, rank: number): Promise<Uint8Array>;
  /**
   * The one atomic step, taken by rank 0 when every rank has finished: writes `files` (the commit record
   * is the last) and makes the attempt the checkpoint `id`: one that `formatId` gives, or any other name that
   * `isSafeName` accepts, by which it can then be opened, though it is not listed as a checkpoint. Resolves when that is durable. Rejects with
   * `COMMIT_UNCERTAIN` if it cannot know; with any other error the checkpoint does not exist.
   * @throws HoldfastError `CHECKPOINT_EXISTS`, `LOCK_LOST`, `COMMIT_UNCERTAIN`
   */
  commit(attempt: Attempt, id: string, files: readonly SmallFile[]): Promise<void>;
  /**
   * Opens a checkpoint, or any directory of a checkpoint's shape that is named.
   * @throws HoldfastError `CHECKPOINT_NOT_FOUND`, `UNSAFE_PATH`
   */
  open(id: string): Promise<CheckpointReader>;
  /** Committed checkpoints, in any order; with `all`, whatever else there is too. An absent root is empty. */
  list(options?: { readonly all?: boolean }): Promise<readonly StoredCheckpoint[]>;
  /** Uncommits first, then deletes, so that a crash between leaves no half checkpoint. Takes the lock. */
  delete(id: string): Promise<void>;
  /**
   * Removes attempts whose owner is dead, and returns their names. Takes the lock. Those of the run `except` stay: its
   * other ranks may have begun one already.
   */
  sweep(options?: { readonly except?: string }): Promise<readonly string[]>;
  /** Gives the lock back, and whatever else is held. Called by the last checkpointer that uses the sink. Idempotent. */
  close(): Promise<void>;
}
