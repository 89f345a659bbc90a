/** One file on its way from a snapshot to the sink. */
import type { PlannedChunk } from "./chunks";
import { type Digester, isDigest } from "./digest";
import { HoldfastError } from "./errors";
import type { PlannedFile } from "./layout";
import type { ReadAhead } from "./read-ahead";
import type { AttemptWriter, Chunk, FilePlan } from "./sink";

/** Hands one file's chunks to the sink, digesting them on the way unless the sink does; returns the digests. */
export async function writeFile(
  { plan }: PlannedFile,
  writer: AttemptWriter,
  source: ReadAhead<PlannedChunk>,
  digester: Digester | undefined,
  onTaken: (bytes: number) => void,
): Promise<readonly string[]> {
  const digests = digester?.blocks(plan.blockEnds);
  let failure: { readonly error: unknown } | undefined;
  async function* chunks(): AsyncGenerator<Chunk> {
    try {
      for (let left = plan.byteLength; left > 0; ) {
        const chunk = await source.next();
        if (!chunk) throw new HoldfastError("DEVICE_ERROR", `the snapshot ended before ${plan.path} did`);
        const length = chunk.bytes.byteLength;
        left -= length;
        digests?.update(chunk.bytes);
        yield onRelease(chunk, () => onTaken(length));
      }
    } catch (error) {
      failure = { error };
      throw error;
    }
  }
  try {
    const written = await writer.write(plan, chunks());
    if (written.byteLength !== plan.byteLength) {
      throw new HoldfastError(
        "SINK_FAILED",
        `${plan.path}: ${written.byteLength} of ${plan.byteLength} bytes were written`,
      );
    }
    return digests?.finish() ?? written.digests ?? [];
  } catch (error) {
    // Whatever the sink makes of it, the reason is the one that its source gave.
    throw failure ? failure.error : error;
  }
}

/** Whoever computed them: what the manifest could not be read back with may not be committed. */
export function checkDigests(
  { path, blockEnds }: FilePlan,
  digests: readonly string[],
  { algorithm }: Digester,
): readonly string[] {
  if (digests.length === blockEnds.length && digests.every((digest) => isDigest(digest, algorithm)))
    return digests;
  throw new HoldfastError(
    "SINK_FAILED",
    `${path}: the sink gave no ${algorithm} digest for each of ${blockEnds.length} blocks`,
  );
}

function onRelease(chunk: Chunk, then: () => void): Chunk {
  let released = false;
  return {
    bytes: chunk.bytes,
    sources: chunk.sources,
    release: () => {
      if (released) return;
      released = true;
      chunk.release();
      then();
    },
  };
}
