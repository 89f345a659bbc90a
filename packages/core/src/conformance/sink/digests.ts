import { type DigestAlgorithm, Digester } from "../../digest";
import { equal } from "../assert";
import { anyBytes } from "../bytes";
import { attemptAt, planOf } from "./checkpoint";
import type { SinkCases } from "./fixture";
import { CHUNK_BYTES, Lender } from "./lender";

/** Digests by block, computed by a sink that declares their algorithm. */
export function digests({ test, capabilities }: SinkCases, algorithm: DigestAlgorithm): void {
  test(`computes ${algorithm} digests of the planned blocks`, async ({ sink }) => {
    const writer = await sink.begin(attemptAt(1), 0, { digest: algorithm });
    const lender = new Lender(4, capabilities);
    const digester = await Digester.create(algorithm);
    const bytes = anyBytes(9 * CHUNK_BYTES + 3, 1);
    // Blocks that end with a chunk, inside one, several in one, and over many.
    const blockEnds = [10, 11, CHUNK_BYTES, CHUNK_BYTES + 1, 7 * CHUNK_BYTES + 5, bytes.byteLength];
    const expected = blockEnds.map((end, i) => digester.digest(bytes.subarray(blockEnds[i - 1] ?? 0, end)));
    const written = await writer.write({ ...planOf("a.bin", bytes), blockEnds }, lender.lend(bytes));
    equal(written.digests, expected, "`write` gives one digest a block, in lower-case hex");
    const empty = await writer.write(planOf("empty.bin", new Uint8Array()), lender.lend(new Uint8Array()));
    equal(empty.digests, [], "an empty file has no blocks");
    await writer.abort();
  });
}
