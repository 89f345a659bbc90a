/** A conversion takes the budget's memory, whatever the size of what it converts. */
import { beforeEach, expect, test } from "vitest";
import { KiB, MiB } from "../../chunk-pool";
import { openOn } from "../../damage-kit";
import { TestSink, turns, watchPools } from "../../test-kit";
import { exampleState, frozen, stored } from "../../test-state";
import { convertCheckpoint } from "./convert";

const ID = "step-00000001";
const pools = watchPools();

/** 60 KiB in blocks of 4 KiB, and all memory that their tensors pass through. */
let source: TestSink;
let target: TestSink;
let memory: Set<ArrayBufferLike>;
beforeEach(async () => {
  [source, target, memory] = [new TestSink(), new TestSink(), new Set()];
  await (await openOn(source)).save({ step: 1, state: exampleState() }).committed;
  source.damage = (path, bytes) => {
    if (path.endsWith(".safetensors")) memory.add(bytes.buffer);
  };
  target.chunks = async function* (chunks) {
    for await (const chunk of chunks) {
      memory.add(chunk.bytes.buffer);
      yield chunk;
    }
  };
});

const convert = (host: number) =>
  convertCheckpoint({ sink: source, id: ID }, { sink: target }, { memory: { host } });

test.each([8 * KiB, 9_000, 12 * KiB, 16 * KiB, 40 * KiB])("a budget of %d bytes suffices", async (host) => {
  const before = new Set(pools.all);
  await convert(host);
  const allocated = [...memory].reduce((sum, { byteLength }) => sum + byteLength, 0);
  expect(allocated).toBeGreaterThanOrEqual(8 * KiB);
  expect(allocated).toBeLessThanOrEqual(host);
  await turns();
  const own = [...pools.all].filter((pool) => !before.has(pool));
  expect(own).toHaveLength(2);
  for (const { lentBytes } of own) expect(lentBytes).toBe(0);
  expect(own.reduce((sum, { peakBytes }) => sum + peakBytes, 0)).toBeLessThanOrEqual(host);
  source.damage = () => {};
  expect(await stored(target.inner, 1)).toEqual(frozen(exampleState()));
});

test("each byte of the tensors is read once, neighbours together, whatever the order of the files", async () => {
  let reads = 0;
  let bytes = 0;
  source.damage = (path, read) => {
    if (!path.endsWith(".safetensors")) return;
    reads++;
    bytes += read.byteLength;
  };
  await convertCheckpoint(
    { sink: source, id: ID },
    { sink: target },
    { memory: { host: 2 * MiB }, maxShardBytes: 30_000 },
  );
  expect([...(await target.inner.open(ID)).files.keys()]).toContain("model-00002-of-00002.safetensors");
  const total = Object.values(exampleState())
    .flatMap(Object.values)
    .reduce((sum, { byteLength }) => sum + byteLength, 0);
  expect(bytes).toBeGreaterThanOrEqual(total);
  expect(bytes).toBeLessThan(total + 8 * KiB * 2); // the pages around the ends
  expect(reads).toBeLessThanOrEqual(4);
});

test("slow storage holds reading back", async () => {
  let read = 0;
  source.damage = (path) => {
    if (path.endsWith(".safetensors")) read++;
  };
  let taken = 0;
  target.chunks = async function* (chunks) {
    for await (const chunk of chunks) {
      await turns();
      // What waits to be written, and what waits to be copied into that: 2 pools of 16 KiB.
      expect(read).toBeLessThanOrEqual(taken++ + 8);
      yield chunk;
    }
  };
  await convert(32 * KiB);
  expect(taken).toBeGreaterThan(12);
});

test.each([8 * KiB - 1, 4 * KiB, 0, Number.NaN])(
  "%d bytes are too few, which says how many it takes",
  async (host) => {
    await expect(convert(host)).rejects.toMatchObject({
      code: "BUDGET_TOO_SMALL",
      message: expect.stringMatching(/step-00000001 .*raise it to 98304$/),
    });
    expect(target.calls).toEqual([]);
  },
);

test("what has larger blocks takes more memory, which is as much as the message says", async () => {
  const large = new TestSink();
  await (await openOn(large, MiB)).save({ step: 1, state: exampleState() }).committed;
  const from = { sink: large, id: ID };
  const refused = await convertCheckpoint(from, { sink: target }, { memory: { host: MiB } }).catch((e) => e);
  expect(refused).toMatchObject({ code: "BUDGET_TOO_SMALL" });
  const host = Number(/raise it to (\d+)$/.exec(refused.message)?.[1]);
  expect(host).toBe(2 * MiB);
  await convertCheckpoint(from, { sink: target }, { memory: { host } });
  expect(await stored(target.inner, 1)).toEqual(frozen(exampleState()));
});
