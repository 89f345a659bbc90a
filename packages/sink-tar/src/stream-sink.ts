/** Checkpoints as archives that go into streams: to standard output, into an upload, into a download. */
import { type Attempt, formatId, HoldfastError, parseId, type Sink } from "@holdfast/core";
import { type OpenStream, StreamAttempt } from "./stream-attempt";

export interface TarStreamOptions {
  /**
   * Called once a checkpoint, when its first bytes are there, with the archive's name (`step-00000100.tar`; a second
   * time for a step that was committed before: `step-00000100.r2.tar`). Gives the stream that the archive goes into:
   * a new one each time, or standard output.
   */
  readonly open: OpenStream;
}

export function streamSink({ open }: TarStreamOptions): Sink {
  if (typeof open !== "function") {
    throw new HoldfastError(
      "INVALID_ARGUMENT",
      "tarSink({ open }): `open` must be a function that gives a stream",
    );
  }
  const attempts = new Map<string, StreamAttempt>();
  const committed = new Set<string>();

  return {
    name: "tar",
    protocol: 1,
    capabilities: {
      read: false,
      list: false,
      delete: false,
      ranks: false,
      sharedMemory: false,
      gathers: false,
      digests: [],
    },

    async begin(attempt, rank, options) {
      options?.signal?.throwIfAborted();
      if (rank !== 0 || attempt.worldSize !== 1) {
        throw unsupported("takes one rank: the others have no part in its stream");
      }
      for (const [key, { live }] of attempts) if (!live) attempts.delete(key);
      const key = keyOf(attempt);
      if (attempts.has(key)) {
        throw new HoldfastError(
          "SINK_FAILED",
          `step ${attempt.step}: attempt ${attempt.ordinal} is under way`,
        );
      }
      const writer = new StreamAttempt(`${nextId(attempt.step, committed)}.tar`, open);
      attempts.set(key, writer);
      return writer;
    },

    async status(attempt) {
      return attempts.get(keyOf(attempt))?.status ?? { finished: [], failed: [], committed: false };
    },

    async fail() {}, // there is nobody to tell

    async manifest(attempt) {
      const manifest = attempts.get(keyOf(attempt))?.manifest;
      if (manifest) return manifest;
      throw new HoldfastError(
        "SINK_FAILED",
        `step ${attempt.step}: the attempt has not finished, or is over`,
      );
    },

    async commit(attempt, id, files) {
      if (committed.has(id)) {
        const message = `${id} is committed: a stream takes each step once. Save another step, or open another sink`;
        throw new HoldfastError("CHECKPOINT_EXISTS", message);
      }
      const writer = attempts.get(keyOf(attempt));
      if (!writer) {
        const message = `attempt ${attempt.ordinal} at step ${attempt.step} is over: it cannot become ${id}`;
        throw new HoldfastError("SINK_FAILED", message);
      }
      await writer.commit(id, files);
      committed.add(id);
    },

    open: async () => {
      throw unsupported("reads none back");
    },
    list: async () => {
      throw unsupported("does not know which there are");
    },
    delete: async () => {
      throw unsupported("deletes none");
    },
    sweep: async () => {
      throw unsupported("has nothing to sweep");
    },

    async close() {
      for (const attempt of attempts.values()) await attempt.abort();
    },
  };
}

/** The revision that comes next of those that are known here: a name that was given out for good is not given again. */
function nextId(step: number, committed: ReadonlySet<string>): string {
  let revision = 1;
  for (const id of committed) {
    const known = parseId(id);
    if (known?.step === step) revision = Math.max(revision, known.revision + 1);
  }
  return formatId({ step, revision });
}

function keyOf({ runId, step, ordinal }: Attempt): string {
  return JSON.stringify([runId, step, ordinal]);
}

function unsupported(problem: string): HoldfastError {
  const message = `tarSink({ open }) only writes archives into streams, and ${problem}. Use tarSink(directory)`;
  return new HoldfastError("UNSUPPORTED", message);
}
