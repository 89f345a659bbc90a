/** A sink that keeps checkpoints in a Map: for tests, for trying things out, and for states worth a rollback. */
import { formatId, parseId } from "./checkpoint-id";
import { RECORD_FILE } from "./commit-record";
import { HoldfastError } from "./errors";
import { MANIFEST_FILE } from "./manifest";
import {
  type Attempt,
  type AttemptWriter,
  type CheckpointReader,
  rankPrefix,
  type Sink,
  type StoredCheckpoint,
} from "./sink";

type Files = Map<string, Uint8Array>;

/** One rank's side of an attempt. */
interface Part {
  readonly files: Files;
  finished: boolean;
}

interface StoredAttempt {
  readonly runId: string;
  readonly ordinal: number;
  /** By rank. */
  readonly parts: Map<number, Part>;
  readonly failures: Map<number, string>;
  /** Whether the sink was closed since: its owner will not come back to it. */
  left: boolean;
}

/**
 * Keeps everything in this object, and lets go of nothing on `close`: it can be used again, and what was
 * committed is still there. All checkpointers that share the object are one writer.
 */
export function memorySink(): Sink {
  const attempts = new Map<string, StoredAttempt>();
  const checkpoints = new Map<string, { attempt: string; files: Files }>();
  /** The ordinal of each run's newest attempt of several ranks: what came before it is over. */
  const newest = new Map<string, number>();

  const filesOf = (id: string): Files => {
    const stored = checkpoints.get(id);
    if (stored) return stored.files;
    throw new HoldfastError("CHECKPOINT_NOT_FOUND", `there is no checkpoint ${id} in memory`);
  };

  return {
    name: "memory",
    protocol: 1,
    capabilities: {
      read: true,
      list: true,
      delete: true,
      ranks: true,
      sharedMemory: false,
      gathers: false,
      digests: [],
    },

    async begin(attempt, rank, options) {
      options?.signal?.throwIfAborted();
      const { runId, ordinal, worldSize } = attempt;
      const name = attemptName(attempt);
      if (rank !== 0 && ordinal < (newest.get(runId) ?? 0)) throw over(name);
      if (rank === 0 && worldSize > 1) {
        newest.set(runId, ordinal);
        for (const [other, stored] of attempts)
          if (stored.runId === runId && stored.ordinal < ordinal) attempts.delete(other);
      }
      const known = worldSize === 1 ? undefined : attempts.get(name);
      const stored = known ?? { runId, ordinal, parts: new Map(), failures: new Map(), left: false };
      const part = { files: new Map(), finished: false };
      stored.parts.set(rank, part);
      attempts.set(name, stored);
      return writerOf({ attempts, name, stored, part, attempt, rank });
    },

    async status(attempt) {
      const name = attemptName(attempt);
      const stored = attempts.get(name);
      const committed = [...checkpoints.values()].some((checkpoint) => checkpoint.attempt === name);
      const isOld = attempt.worldSize > 1 && attempt.ordinal < (newest.get(attempt.runId) ?? 0);
      if (!stored && !committed && isOld) throw over(name);
      return {
        finished: finishedOf(stored),
        failed: [...(stored?.failures ?? [])].map(([rank, reason]) => ({ rank, reason })),
        committed,
      };
    },

    async manifest(attempt, rank) {
      const path = rankPrefix(rank, attempt.worldSize) + MANIFEST_FILE;
      const manifest = attempts.get(attemptName(attempt))?.parts.get(rank)?.files.get(path);
      if (manifest) return manifest.slice();
      throw new HoldfastError("SINK_FAILED", `rank ${rank} has not finished ${attemptName(attempt)}`);
    },

    async commit(attempt, id, files) {
      if (checkpoints.has(id)) {
        throw new HoldfastError("CHECKPOINT_EXISTS", `${id} is committed: commit a new revision of it`);
      }
      const name = attemptName(attempt);
      const found = attempts.get(name);
      const finished = finishedOf(found);
      // As many, and none beyond: they are all of them.
      if (!found || finished.length !== attempt.worldSize || finished.at(-1) !== attempt.worldSize - 1) {
        const by = `finished by ranks ${finished.join(", ")} of ${attempt.worldSize}`;
        throw new HoldfastError(
          "SINK_FAILED",
          `${name} is not finished, or over: it cannot become ${id} (${by})`,
        );
      }
      const stored = new Map([...found.parts.values()].flatMap((part) => [...part.files]));
      for (const { path, bytes } of files) stored.set(path, bytes.slice());
      checkpoints.set(id, { attempt: name, files: stored });
      attempts.delete(name);
    },

    open: async (id) => readerOf(id, filesOf(id)),

    async list(options) {
      const stored = [...checkpoints].map(([id, { files }]) => ({ id, state: stateOf(id, files) }));
      if (!options?.all) return stored.filter(({ state }) => state === "committed");
      return [...stored, ...[...attempts.keys()].map((id) => ({ id, state: "in-progress" as const }))];
    },

    async delete(id) {
      filesOf(id); // throws if there are none
      checkpoints.delete(id);
    },

    async sweep({ except } = {}) {
      const swept = ([, { left, runId }]: [string, StoredAttempt]) => left && runId !== except;
      const left = [...attempts].filter(swept).map(([name]) => name);
      for (const name of left) attempts.delete(name);
      return left;
    },

    async close() {
      for (const stored of attempts.values()) stored.left = true;
    },
  };
}

/** Ascending. */
function finishedOf(stored: StoredAttempt | undefined): readonly number[] {
  const finished = [...(stored?.parts ?? [])].filter(([, part]) => part.finished);
  return finished.map(([rank]) => rank).sort((a, b) => a - b);
}

function over(name: string): HoldfastError {
  return new HoldfastError("SINK_FAILED", `${name} is over: it was aborted, swept or committed`);
}

function stateOf(id: string, files: Files): StoredCheckpoint["state"] {
  if (!parseId(id)) return "foreign";
  return files.has(RECORD_FILE) ? "committed" : "broken";
}

interface WriterOf {
  readonly attempts: Map<string, StoredAttempt>;
  readonly name: string;
  readonly stored: StoredAttempt;
  readonly part: Part;
  readonly attempt: Attempt;
  readonly rank: number;
}

function writerOf({ attempts, name, stored, part, attempt, rank }: WriterOf): AttemptWriter {
  const assertLive = () => {
    if (attempts.get(name) === stored && stored.parts.get(rank) === part) return;
    throw over(name);
  };
  return {
    async write({ path, byteLength }, chunks) {
      assertLive();
      const file = new Uint8Array(byteLength);
      let position = 0;
      for await (const chunk of chunks) {
        try {
          assertLive();
          const start = position;
          position += chunk.bytes.byteLength;
          if (position > byteLength) break;
          file.set(chunk.bytes, start);
        } finally {
          chunk.release();
        }
      }
      if (position !== byteLength) {
        const message = `${path}: ${byteLength} bytes were planned, but ${position} came`;
        throw new HoldfastError("SINK_FAILED", message);
      }
      assertLive();
      part.files.set(path, file);
      return { path, byteLength };
    },
    async finish(manifest) {
      assertLive();
      if (manifest) part.files.set(rankPrefix(rank, attempt.worldSize) + MANIFEST_FILE, manifest.slice());
      part.finished = true;
    },
    async fail(reason) {
      assertLive();
      stored.failures.set(rank, reason);
    },
    async abort() {
      if (attempts.get(name) !== stored) return;
      if (attempt.worldSize === 1) attempts.delete(name);
      else if (!part.finished) stored.parts.delete(rank);
    },
  };
}

function readerOf(id: string, stored: Files): CheckpointReader {
  return {
    id,
    files: new Map([...stored].map(([path, { byteLength }]) => [path, { path, byteLength }])),
    async read(path, start, into, options) {
      options?.signal?.throwIfAborted();
      const bytes = stored.get(path);
      const end = start + into.byteLength;
      if (bytes && end <= bytes.byteLength) {
        into.set(bytes.subarray(start, end));
        return undefined; // it declares no digests, so that none are asked for
      }
      const found = bytes ? `ends at byte ${bytes.byteLength}, where byte ${end} is needed` : "is missing";
      throw new HoldfastError("CHECKPOINT_CORRUPT", `${id}: ${path} ${found}`);
    },
    async close() {}, // nothing is held
  };
}

function attemptName({ runId, step, ordinal, worldSize }: Attempt): string {
  const at = worldSize === 1 ? `${formatId({ step, revision: 1 })}-` : "";
  return `attempt-${at}${runId}-${ordinal}`;
}
