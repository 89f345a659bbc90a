/** What is kept from save to save changes nothing of what is written. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { AsyncCheckpointer } from "./checkpointer";
import { KiB } from "./chunk-pool";
import type { HostLeaf } from "./host-tensor";
import { memorySink } from "./memory-sink";
import type { Sink } from "./sink";
import { TestBackend } from "./test-backends";

/** Some are of one shape; some share memory, whole or in part, or lie at the same place as something else. */
const leaves: readonly HostLeaf[] = (() => {
  const floats = Float32Array.from({ length: 1100 }, (_, i) => Math.sin(i));
  const [first, second, third] = [floats.slice(0, 9), floats.slice(9, 18), floats.slice(18, 27)];
  const bytes = Uint8Array.from({ length: 700 }, (_, i) => i * 7);
  return [
    first,
    second,
    third,
    first.subarray(0),
    floats,
    floats.subarray(0, 9),
    new Int32Array(floats.buffer, 0, 9),
    { data: first, dtype: "F32", shape: [3, 3] },
    { data: bytes.subarray(0, 3), dtype: "F4", shape: [6] },
    { data: bytes.subarray(2, 4), dtype: "BF16", shape: [] },
    { data: new Uint8Array(0), dtype: "F64", shape: [4, 0] },
  ];
})();

const entry = fc.record({
  group: fc.constantFrom("model", "ema"),
  box: fc.constantFrom("a", "b.c"),
  name: fc.constantFrom("w", "x", "é"),
  leaf: fc.constantFrom(...leaves),
});
type Entry = typeof entry extends fc.Arbitrary<infer E> ? E : never;
const entries = fc.uniqueArray(entry, {
  selector: ({ group, box, name }) => `${group} ${box} ${name}`,
  maxLength: 8,
});
const states = fc.array(fc.record({ entries, inMaps: fc.boolean(), empty: fc.boolean() }), {
  minLength: 1,
  maxLength: 3,
});
/** One of the states, mostly with another tensor in the place of one. */
const saves = fc.array(
  fc.record({ which: fc.nat(), place: fc.nat(), leaf: fc.option(fc.constantFrom(...leaves)) }),
  { minLength: 2, maxLength: 6 },
);

function stateOf(entries: readonly Entry[], inMaps: boolean, empty: boolean): object {
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
}

const options = fc.record({
  maxShardBytes: fc.constantFrom(2500, 5_000_000_000),
  digest: fc.constantFrom("xxh64" as const, "sha256" as const),
});

test("states that come and go are written as each is written alone", async () => {
  await fc.assert(
    fc.asyncProperty(states, saves, options, async (states, saves, options) => {
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
      for (const [step, { which, place, leaf }] of saves.entries()) {
        const { entries = [], inMaps = false, empty = false } = states[which % states.length] ?? {};
        const changed = entries.map((entry, i) =>
          leaf && i === place % entries.length ? { ...entry, leaf } : entry,
        );
        const request = { step, state: stateOf(changed, inMaps, empty) };
        await kept.checkpointer.save(request).committed;
        const fresh = await open();
        await fresh.checkpointer.save(request).committed;
        expect(await written(kept.sink, step)).toEqual(await written(fresh.sink, step));
      }
    }),
    { numRuns: 100 },
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
