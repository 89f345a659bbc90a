/** A sink that keeps checkpoints in a Map: for tests, for trying things out, and for states worth a rollback. */
import { formatId, parseId } from "./checkpoint-id";
import { RECORD_FILE } from "./commit-record";
import { HoldfastError } from "./errors";
import { MANIFEST_FILE } from "./manifest";
import type { Attempt, AttemptWriter, CheckpointReader, Sink, StoredCheckpoint } from "./sink";

type Files = Map<string, Uint8Array>;

interface StoredAttempt {
  readonly files: Files;
  finished: boolean;
  failure?: string;
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
      ranks: false,
      sharedMemory: false,
      gathers: false,
      digests: [],
    },

    async begin(attempt, _rank, options) {
      options?.signal?.throwIfAborted();
      const name = attemptName(attempt);
      const stored = { files: new Map(), finished: false, left: false };
      attempts.set(name, stored);
      return writerOf(attempts, name, stored);
    },

    async status(attempt) {
      const name = attemptName(attempt);
      const { files, failure } = attempts.get(name) ?? {};
      const manifest = files?.get(MANIFEST_FILE);
      return {
        finished: manifest ? [{ rank: 0, manifest: manifest.slice() }] : [],
        failed: failure === undefined ? [] : [{ rank: 0, reason: failure }],
        committed: [...checkpoints.values()].some((checkpoint) => checkpoint.attempt === name),
      };
    },

    async commit(attempt, id, files) {
      if (checkpoints.has(id)) {
        throw new HoldfastError("CHECKPOINT_EXISTS", `${id} is committed: commit a new revision of it`);
      }
      const name = attemptName(attempt);
      const stored = attempts.get(name);
      if (!stored?.finished) {
        throw new HoldfastError("SINK_FAILED", `${name} is not finished, or over: it cannot become ${id}`);
      }
      for (const { path, bytes } of files) stored.files.set(path, bytes.slice());
      checkpoints.set(id, { attempt: name, files: stored.files });
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

    async sweep() {
      const left = [...attempts].filter(([, stored]) => stored.left).map(([name]) => name);
      for (const name of left) attempts.delete(name);
      return left;
    },

    async close() {
      for (const stored of attempts.values()) stored.left = true;
    },
  };
}

function stateOf(id: string, files: Files): StoredCheckpoint["state"] {
  if (!parseId(id)) return "foreign";
  return files.has(RECORD_FILE) ? "committed" : "broken";
}

function writerOf(attempts: Map<string, StoredAttempt>, name: string, stored: StoredAttempt): AttemptWriter {
  const assertLive = () => {
    if (attempts.get(name) === stored) return;
    throw new HoldfastError("SINK_FAILED", `${name} is over: it was aborted, swept or committed`);
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
      stored.files.set(path, file);
      return { path, byteLength };
    },
    async finish(manifest) {
      assertLive();
      if (manifest) stored.files.set(MANIFEST_FILE, manifest.slice());
      stored.finished = true;
    },
    async fail(reason) {
      assertLive();
      stored.failure = reason;
    },
    async abort() {
      if (attempts.get(name) === stored) attempts.delete(name);
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

function attemptName({ runId, step, ordinal }: Attempt): string {
  return `attempt-${formatId({ step, revision: 1 })}-${runId}-${ordinal}`;
}
