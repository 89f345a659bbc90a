/** Whole checkpoints, written and read back by a sink's own means. */
import { formatId } from "../../checkpoint-id";
import { encodeRecord, RECORD_FILE } from "../../commit-record";
import { Digester } from "../../digest";
import { blockEnds, MANIFEST_FILE } from "../../manifest";
import { encodeManifest } from "../../manifest-template";
import type { Attempt, AttemptWriter, FilePlan, Sink, SmallFile } from "../../sink";
import { check, equal, resolves, sameBytes } from "../assert";
import { anyBytes } from "../bytes";
import { CHUNK_BYTES, Lender } from "./lender";

export type Contents = ReadonlyMap<string, Uint8Array>;

/** A checkpoint, and what has to be found in it. */
export interface Expected {
  readonly id: string;
  readonly attempt: Attempt;
  readonly files: Contents;
}

export function attemptAt(step: number, ordinal = 1, runId = "conformance"): Attempt {
  return { runId, step, ordinal, worldSize: 1 };
}

export function idAt(step: number, revision = 1): string {
  return formatId({ step, revision });
}

/** Two files of different contents for each seed. */
export function exampleFiles(seed: number): Contents {
  return new Map([
    ["model.safetensors", anyBytes(2 * CHUNK_BYTES + 77, seed)],
    ["optimizer.safetensors", anyBytes(501, seed + 1)],
  ]);
}

export function planOf(path: string, bytes: Uint8Array): FilePlan {
  return { path, byteLength: bytes.byteLength, blockEnds: blockEnds(0, bytes.byteLength, 2 * CHUNK_BYTES) };
}

/** Writes all files, as core does. */
export async function writeFiles(sink: Sink, writer: AttemptWriter, files: Contents): Promise<void> {
  const lender = new Lender(4, sink.capabilities);
  for (const [path, bytes] of files) await writer.write(planOf(path, bytes), lender.lend(bytes));
}

/** The manifest of an attempt that says nothing of tensors: sinks do not read it. */
export function manifestOf({ runId, step, worldSize }: Attempt): Uint8Array {
  const blocks = { digest: "xxh64", blockBytes: 2 * CHUNK_BYTES } as const;
  return encodeManifest({
    runId,
    step,
    rank: 0,
    worldSize,
    sharding: undefined,
    ...blocks,
    files: [],
    tensors: [],
    ties: [],
  });
}

/** What core passes to `commit`: small files, and a valid record at the end. */
export async function recordFiles(attempt: Attempt, revision = 1): Promise<SmallFile[]> {
  const digester = await Digester.create("xxh64");
  const manifest = manifestOf(attempt);
  const record = encodeRecord(
    {
      step: attempt.step,
      revision,
      runId: attempt.runId,
      worldSize: attempt.worldSize,
      createdAt: "2026-01-01T00:00:00.000Z",
      byteLength: manifest.byteLength,
      groups: [],
      metrics: {},
      digest: "xxh64",
      manifests: [
        { rank: 0, path: MANIFEST_FILE, byteLength: manifest.byteLength, digest: digester.digest(manifest) },
      ],
    },
    digester,
  );
  return [
    { path: "training_state.json", bytes: new TextEncoder().encode(`{"version":2,"step":${attempt.step}}`) },
    { path: RECORD_FILE, bytes: record },
  ];
}

/** Begins, writes and finishes an attempt: all but the commit. */
export async function finishAttempt(sink: Sink, attempt: Attempt, files: Contents): Promise<AttemptWriter> {
  const writer = await sink.begin(attempt, 0);
  await writeFiles(sink, writer, files);
  await writer.finish(manifestOf(attempt));
  return writer;
}

/** Commits an attempt that has written `files`. */
export async function commitAttempt(
  sink: Sink,
  attempt: Attempt,
  files: Contents,
  revision = 1,
): Promise<Expected> {
  const small = await recordFiles(attempt, revision);
  const id = idAt(attempt.step, revision);
  await sink.commit(attempt, id, small);
  const all = new Map([...files, [MANIFEST_FILE, manifestOf(attempt)]]);
  for (const { path, bytes } of small) all.set(path, bytes);
  return { id, attempt, files: all };
}

/** A whole checkpoint, whose contents differ with each step. */
export async function saveCheckpoint(
  sink: Sink,
  step: number,
  files = exampleFiles(step),
): Promise<Expected> {
  const attempt = attemptAt(step);
  await finishAttempt(sink, attempt, files);
  return commitAttempt(sink, attempt, files);
}

/** Checks that the checkpoint holds exactly what was written, where the sink can say. */
export async function assertHolds(sink: Sink, { id, files }: Expected): Promise<void> {
  if (!sink.capabilities.read) return;
  const reader = await resolves(sink.open(id), "`open` opens what was committed");
  equal(reader.id, id, "`open` gives a reader of the id that was asked for");
  equal(
    [...reader.files.keys()].sort(),
    [...files.keys()].sort(),
    "a checkpoint holds the files that were written, and no other",
  );
  for (const [path, bytes] of files) {
    const said = reader.files.get(path);
    equal(said, { path, byteLength: bytes.byteLength }, "`files` says each file's path and length");
    const read = new Uint8Array(bytes.byteLength);
    const rule = `${path} reads back as it was written`;
    await resolves(reader.read(path, 0, read), rule);
    sameBytes(read, bytes, rule);
  }
  await reader.close();
}

/** Checks which checkpoints are committed, where the sink can say. */
export async function assertCommitted(sink: Sink, ids: readonly string[]): Promise<void> {
  if (!sink.capabilities.list) return;
  const listed = await sink.list();
  check(
    listed.every(({ state }) => state === "committed"),
    "`list` without `all` names committed checkpoints only",
    JSON.stringify(listed),
  );
  equal(
    listed.map(({ id }) => id).sort(),
    [...ids].sort(),
    "`list` names every committed checkpoint, and no other",
  );
}

/** Checks that there is nothing else than these committed checkpoints: no attempt, nothing broken. */
export async function assertNothingBut(sink: Sink, ids: readonly string[], when: string): Promise<void> {
  if (!sink.capabilities.list) return;
  await assertCommitted(sink, ids);
  const others = (await sink.list({ all: true })).filter(({ state }) => state !== "committed");
  equal(others, [], `${when} nothing is left of the attempt`);
}
