/** One rank's part of a checkpoint on its way into its attempt: snapshot → files → finish. */
import type { PlannedChunk } from "./chunks";
import { type DigestAlgorithm, Digester } from "./digest";
import { bytesFile, type Layout, type LayoutOptions, layOut, manifestOf } from "./layout";
import { ReadAhead } from "./read-ahead";
import type { SaveEnvironment, SaveJob } from "./save";
import { rejectOnAbort, settleWithin } from "./signals";
import { type AttemptWriter, rankPrefix } from "./sink";
import { checkDigests, writeFile } from "./write-file";

/** What cleaning up after a failed attempt may take: storage that hangs shall not hold the next save. */
const CLEAN_UP_MS = 5000;

export function layoutOptions(environment: SaveEnvironment, prefix: string): LayoutOptions {
  const { pool, maxShardBytes, digest } = environment;
  return { prefix, maxShardBytes, blockBytes: pool.blockBytes, chunkBytes: pool.chunkBytes, digest };
}

export class RankWriter {
  /** Of all of the rank's files, its manifest included, once they are written. */
  bytes = 0;
  readonly #layout: Layout;
  #writer: AttemptWriter | undefined;
  #readAhead: ReadAhead<PlannedChunk> | undefined;

  constructor(
    private readonly job: SaveJob,
    private readonly environment: SaveEnvironment,
    private readonly rank: number,
    /** Aborts when this rank is to give up. */
    private readonly signal: AbortSignal,
  ) {
    this.#layout = layOut(job.share, layoutOptions(environment, rankPrefix(rank, job.attempt.worldSize)));
  }

  /**
   * Begins the attempt, writes every file, and finishes. The snapshot is closed as soon as the last byte was read;
   * where that never happens, closing is left to the caller. `begun` is called when the attempt has. Returns the
   * manifest, undefined for what is in somebody else's format, and by what it was digested.
   */
  async write(begun: () => void): Promise<{ manifest: Uint8Array | undefined; digester: Digester }> {
    const { sink, pool, digest: algorithm } = this.environment;
    const { attempt, snapshot, report, record, share } = this.job;
    const { files: layoutFiles, options } = this.#layout;
    const beside = this.job.beside.map(({ path, bytes }) => bytesFile(options.prefix + path, bytes, options));
    const files = [...layoutFiles, ...beside];
    const byteLength = files.reduce((total, { plan }) => total + plan.byteLength, 0);
    report({ stage: "writing", totalBytes: byteLength });

    const { signal } = this;
    const { gathers, digests: algorithms } = sink.capabilities;
    const digest = algorithms.includes(algorithm) ? algorithm : undefined;
    // What core is to digest has to be there. And what fits into the pool is staged sooner if it is copied at once:
    // what is lent is needed until it was written.
    const lends = gathers && digest !== undefined && byteLength > pool.size * pool.chunkBytes;
    // Reading runs ahead of writing, across files: a blocking state that fits into the pool is staged at
    // the speed of memory.
    const readAhead = new ReadAhead(
      files.flatMap(({ chunks }) => chunks),
      {
        pool,
        length: ({ length }) => length,
        fill: ({ parts }, into) => snapshot.read(parts, into, signal),
        lend: lends ? ({ parts }) => snapshot.lend(parts) : undefined,
        signal,
      },
    );
    this.#readAhead = readAhead;
    readAhead.drained.then(() => snapshot.close()).catch(() => {}); // a failure is met by whoever writes

    // One a save: a write that hung and was given up may not touch the next save's digests.
    const created = Digester.create(algorithm);
    const writer = await this.#begin(byteLength, digest);
    const digester = await created;
    begun();
    const digests = new Map<string, readonly string[]>();
    let taken = 0;
    for (const file of files) {
      const writing = writeFile(file, writer, readAhead, digest ? undefined : digester, (bytes) => {
        taken += bytes;
        report({ bytes: taken });
      });
      digests.set(file.plan.path, checkDigests(file.plan, await rejectOnAbort(writing, signal), digester));
    }
    await rejectOnAbort(snapshot.staged, signal); // all is read, so this tells whether what was read is true
    const { runId, step, worldSize } = attempt;
    const head = { runId, step, rank: this.rank, worldSize, sharding: share.sharding(digester) };
    const manifest = record && manifestOf(head, this.#layout, files, (path) => digests.get(path) ?? []);
    await rejectOnAbort(writer.finish(manifest), signal);
    this.bytes = byteLength + (manifest?.byteLength ?? 0);
    return { manifest, digester };
  }

  /** Tells the other ranks that this one has failed. */
  async fail(reason: string): Promise<void> {
    const { sink } = this.environment;
    const marked = this.#writer?.fail(reason) ?? sink.fail(this.job.attempt, this.rank, reason);
    await settleWithin(marked, CLEAN_UP_MS);
  }

  /** Gives back what is held, and has what was written removed, unless `keep` says to leave it. */
  async giveUp(keep: boolean): Promise<void> {
    this.#readAhead?.stop();
    this.#readAhead?.reclaim(); // the sink may go on reading them, for an attempt that will never be committed
    if (this.#writer && !keep) await settleWithin(this.#writer.abort(), CLEAN_UP_MS);
  }

  async #begin(byteLength: number, digest: DigestAlgorithm | undefined): Promise<AttemptWriter> {
    const { signal } = this;
    const begun = this.environment.sink.begin(this.job.attempt, this.rank, {
      byteLength,
      signal,
      ...(digest && { digest }),
    });
    const late = () => begun.then((writer) => writer.abort()).catch(() => {});
    this.#writer = await rejectOnAbort(begun, signal, late);
    return this.#writer;
  }
}
