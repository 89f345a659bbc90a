/** A sink that keeps checkpoints in a Map: for tests, for trying things out, and for states worth a rollback. */
import { formatId } from "./checkpoint-id";
import { HoldfastError } from "./errors";
import { MANIFEST_FILE } from "./manifest";
import type { Attempt, AttemptWriter, CheckpointReader, Chunk, FilePlan, Sink, WrittenFile } from "./sink";

interface StoredAttempt {
  readonly files: Map<string, Uint8Array>;
  readonly failed: Map<number, string>;
  manifest: Uint8Array | undefined;
  /** Whether the sink was closed since: its owner will not come back to it. */
  left: boolean;
}

interface StoredFiles {
  readonly attempt: string;
  readonly files: ReadonlyMap<string, Uint8Array>;
}

/**
 * Keeps everything in this object, and lets go of nothing on `close`: it can be used again, and what was
 * committed is still there. All checkpointers that share the object are one writer.
 */
export function memorySink(): Sink {
  const attempts = new Map<string, StoredAttempt>();
  const checkpoints = new Map<string, StoredFiles>();

  const committed = (id: string): StoredFiles => {
    const stored = checkpoints.get(id);
    if (!stored) throw new HoldfastError("CHECKPOINT_NOT_FOUND", `there is no checkpoint ${id} in memory`);
    return stored;
  };

  return {
    name: "memory",
    protocol: 1,
    capabilities: { read: true, list: true, delete: true, ranks: false, sharedMemory: false, digests: [] },

    async begin(attempt, rank, options) {
      options?.signal?.throwIfAborted();
      const name = attemptName(attempt);
      const stored = { files: new Map(), failed: new Map(), manifest: undefined, left: false };
      attempts.set(name, stored);
      return new MemoryWriter(attempts, name, stored, rank);
    },

    async status(attempt) {
      const name = attemptName(attempt);
      const stored = attempts.get(name);
      return {
        finished: stored?.manifest ? [{ rank: 0, manifest: stored.manifest.slice() }] : [],
        failed: [...(stored?.failed ?? [])].map(([rank, reason]) => ({ rank, reason })),
        committed: [...checkpoints.values()].some((checkpoint) => checkpoint.attempt === name),
      };
    },

    async commit(attempt, id, files) {
      if (checkpoints.has(id)) {
        throw new HoldfastError(
          "CHECKPOINT_EXISTS",
          `${id} is already committed: commit a new revision of it`,
        );
      }
      const name = attemptName(attempt);
      const stored = attempts.get(name);
      if (!stored?.manifest) {
        throw new HoldfastError(
          "SINK_FAILED",
          `${name} cannot become ${id}: it is not finished, or was aborted`,
        );
      }
      for (const { path, bytes } of files) stored.files.set(path, bytes.slice());
      checkpoints.set(id, { attempt: name, files: stored.files });
      attempts.delete(name);
    },

    open: async (id) => new MemoryReader(id, committed(id).files),

    async list(options) {
      const all = [...checkpoints.keys()].map((id) => ({ id, state: "committed" as const }));
      if (!options?.all) return all;
      return [...all, ...[...attempts.keys()].map((id) => ({ id, state: "in-progress" as const }))];
    },

    async delete(id) {
      committed(id);
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

class MemoryWriter implements AttemptWriter {
  constructor(
    private readonly attempts: Map<string, StoredAttempt>,
    private readonly name: string,
    private readonly stored: StoredAttempt,
    private readonly rank: number,
  ) {}

  async write({ path, byteLength }: FilePlan, chunks: AsyncIterable<Chunk>): Promise<WrittenFile> {
    this.#assertLive();
    const file = new Uint8Array(byteLength);
    let position = 0;
    for await (const chunk of chunks) {
      try {
        this.#assertLive();
        const end = position + chunk.bytes.byteLength;
        if (end > byteLength) throw wrongLength(path, byteLength, `at least ${end}`);
        file.set(chunk.bytes, position);
        position = end;
      } finally {
        chunk.release();
      }
    }
    if (position !== byteLength) throw wrongLength(path, byteLength, String(position));
    this.#assertLive();
    this.stored.files.set(path, file);
    return { path, byteLength };
  }

  async finish(manifest: Uint8Array): Promise<void> {
    this.#assertLive();
    this.stored.manifest = manifest.slice();
    this.stored.files.set(MANIFEST_FILE, this.stored.manifest);
  }

  async fail(reason: string): Promise<void> {
    this.#assertLive();
    this.stored.failed.set(this.rank, reason);
  }

  async abort(): Promise<void> {
    if (this.attempts.get(this.name) === this.stored) this.attempts.delete(this.name);
  }

  #assertLive(): void {
    if (this.attempts.get(this.name) === this.stored) return;
    throw new HoldfastError("SINK_FAILED", `${this.name} is over: it was aborted, swept or committed`);
  }
}

class MemoryReader implements CheckpointReader {
  readonly files;

  constructor(
    readonly id: string,
    private readonly stored: ReadonlyMap<string, Uint8Array>,
  ) {
    this.files = new Map([...stored].map(([path, { byteLength }]) => [path, { path, byteLength }]));
  }

  async read(path: string, start: number, into: Uint8Array, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    const bytes = this.stored.get(path);
    const end = start + into.byteLength;
    if (bytes && end <= bytes.byteLength) return into.set(bytes.subarray(start, end));
    const found = bytes ? `ends at byte ${bytes.byteLength}, where byte ${end} is needed` : "is missing";
    throw new HoldfastError("CHECKPOINT_CORRUPT", `${this.id}: ${path} ${found}`);
  }

  /** Nothing is held. */
  async close(): Promise<void> {}
}

function attemptName({ runId, step, ordinal }: Attempt): string {
  return `attempt-${formatId({ step, revision: 1 })}-${runId}-${ordinal}`;
}

function wrongLength(path: string, planned: number, found: string): HoldfastError {
  return new HoldfastError(
    "SINK_FAILED",
    `${path}: ${planned} bytes were planned, but the chunks hold ${found}`,
  );
}
