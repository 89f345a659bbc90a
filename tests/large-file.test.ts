import { mkdtemp, open, rm, statfs } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AsyncCheckpointer, hostBackend } from "@holdfast/core";
import { readHeader } from "@holdfast/core/safetensors";
import { fsSink } from "@holdfast/sink-fs";
import { expect, test } from "vitest";

const MiB = 2 ** 20;
const GiB = 2 ** 30;

/** Views of one small memory, each a tensor of its own: large files out of little memory. */
function largeState(tensors: number, byteLength: number) {
  const memory = new Uint32Array((byteLength + 4 * tensors) / 4);
  for (let i = 0; i < memory.length; i++) memory[i] = Math.imul(i, 2654435761);
  const views = Array.from({ length: tensors }, (_, i) => [
    `t${String(i).padStart(4, "0")}`,
    memory.subarray(i, i + byteLength / 4),
  ]);
  return { model: Object.fromEntries(views) as Record<string, Uint32Array> };
}

const free = await statfs(tmpdir()).then(({ bavail, bsize }) => bavail * bsize);

test.runIf(free > 6 * GiB)(
  "a file past 4 GiB is written, checked and found where it says (needs 6 GiB of room)",
  async () => {
    const root = await mkdtemp(join(tmpdir(), "holdfast-"));
    try {
      const state = largeState(620, 7 * MiB); // 4.24 GiB, below the limit of a shard
      await using checkpointer = await AsyncCheckpointer.open({ backend: hostBackend(), sink: fsSink(root) });
      const { id } = await checkpointer.save({ step: 1, state }).committed;
      expect(await checkpointer.latestGood()).toMatchObject({ id, verified: true });

      const file = await open(join(root, String(id), "model.safetensors"));
      const { size } = await file.stat();
      expect(size).toBeGreaterThan(4 * GiB);
      const head = new Uint8Array(MiB);
      await file.read(head, 0, head.byteLength, 0);
      const length = Number(new DataView(head.buffer).getBigUint64(0, true));
      const header = readHeader(head.subarray(0, 8 + length), size);
      for (const name of ["t0000", "t0292", "t0293", "t0585", "t0619"]) {
        const { start = 0, end = 0 } = header.tensors.get(name) ?? {};
        const bytes = new Uint8Array(end - start);
        await file.read(bytes, 0, bytes.byteLength, start);
        const { buffer, byteOffset, byteLength } = state.model[name] ?? new Uint32Array();
        expect(Buffer.compare(bytes, new Uint8Array(buffer, byteOffset, byteLength)), name).toBe(0);
      }
      await file.close();
    } finally {
      await rm(root, { recursive: true, force: true });
    }
  },
);
