/** What is kept from save to save changes nothing of what is written. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { AsyncCheckpointer } from "./checkpointer";
import { KiB } from "./chunk-pool";
import type { HostLeaf } from "./host-tensor";
import { memorySink } from "./memory-sink";
import type { Sink } from "./sink";
import { TestBackend } from "./test-backends";

/** Some share memory, whole or in part, or lie at the same place as something else. */
const leaves: readonly HostLeaf[] = (() => {
  const floats = Float32Array.from({ length: 1500 }, (_, i) => Math.sin(i));
  const bytes = Uint8Array.from({ length: 700 }, (_, i) => i * 7);
  return [
    floats,
    floats.subarray(1),
    floats.subarray(0, 9),
    new Int32Array(floats.buffer),
    { data: floats, dtype: "F32", shape: [3, 500] },
    { data: floats, dtype: "F32", shape: [500, 3] },
    bytes,
    { data: bytes.subarray(0, 3), dtype: "F4", shape: [6] },
    { data: bytes.subarray(2, 4), dtype: "BF16", shape: [] },
    new Uint8Array(0),
    { data: new Uint8Array(0), dtype: "F64", shape: [4, 0] },
    Float32Array.from({ length: 2100 }, (_, i) => i),
  ];
})();

const entry = fc.record({
  group: fc.constantFrom("model", "ema"),
  box: fc.constantFrom("a", "b.c"),
  name: fc.constantFrom("w", "x", "é"),
  leaf: fc.constantFrom(...leaves),
});
const entries = fc.uniqueArray(entry, {
  selector: ({ group, box, name }) => `${group} ${box} ${name}`,
  maxLength: 8,
});
const state = fc.tuple(entries, fc.boolean(), fc.boolean()).map(([entries, inMaps, empty]) => {
  const groups: Record<string, Record<string, Map<string, HostLeaf>>> = {};
  if (empty) groups.empty = {};
  for (const { group, box, name, leaf } of entries) {
    groups[group] ??= {};
    groups[group][box] ??= new Map();
    groups[group][box].set(name, leaf);
  }
  if (inMaps) return groups;
  const plain = (boxes: Record<string, Map<string, HostLeaf>>) =>
    Object.fromEntries(Object.entries(boxes).map(([box, named]) => [box, Object.fromEntries(named)]));
  return Object.fromEntries(Object.entries(groups).map(([group, boxes]) => [group, plain(boxes)]));
});

const options = fc.record({
  maxShardBytes: fc.constantFrom(2500, 5_000_000_000),
  digest: fc.constantFrom("xxh64" as const, "sha256" as const),
});

test("states that come and go are written as each is written alone", async () => {
  const states = fc.array(state, { minLength: 1, maxLength: 3 });
  const order = fc.array(fc.nat(), { minLength: 2, maxLength: 6 });
  await fc.assert(
    fc.asyncProperty(states, order, options, async (states, order, options) => {
      const open = async () => {
        const sink = memorySink();
        const backend = [
          new TestBackend((value) => value instanceof Float32Array),
          new TestBackend(),
        ] as const;
        const memory = { host: 16 * KiB, device: 4 * KiB };
        return { sink, checkpointer: await AsyncCheckpointer.open({ backend, sink, memory, ...options }) };
      };
      const kept = await open();
      for (const [step, index] of order.entries()) {
        const request = { step, state: states[index % states.length] ?? {} };
        await kept.checkpointer.save(request).committed;
        const fresh = await open();
        await fresh.checkpointer.save(request).committed;
        expect(await written(kept.sink, step)).toEqual(await written(fresh.sink, step));
      }
    }),
    { numRuns: 150 },
  );
});

/** The files of a checkpoint as text, a character a byte, without what differs from run to run. */
async function written(sink: Sink, step: number): Promise<ReadonlyMap<string, string>> {
  const reader = await sink.open(`step-${String(step).padStart(8, "0")}`);
  const files = new Map<string, string>();
  let runId = "";
  for (const [path, { byteLength }] of reader.files) {
    const bytes = new Uint8Array(byteLength);
    await reader.read(path, 0, bytes);
    const text = new TextDecoder("latin1").decode(bytes);
    if (path === "checkpoint.json") runId = JSON.parse(text).runId;
    files.set(path, text);
  }
  files.set("manifest.json", files.get("manifest.json")?.replace(runId, "RUN") ?? "");
  const { seal: _, createdAt: __, manifests, ...record } = JSON.parse(files.get("checkpoint.json") ?? "");
  files.set("checkpoint.json", JSON.stringify({ ...record, runId: "RUN", manifests: manifests.length }));
  return files;
}
