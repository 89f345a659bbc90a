import { expect, test } from "vitest";
import { AsyncCheckpointer } from "./checkpointer";
import { Digester } from "./digest";
import { hostBackend } from "./host-backend";
import type { AttemptWriter, Chunk, Sink } from "./sink";
import { Gate, isPending, TestSink } from "./test-kit";

const KiB = 1024;

/** Copies what chunks are to be made of itself, and digests it, as a sink on another thread does. */
class GatheringSink extends TestSink {
  lent = 0;
  filled = 0;

  constructor(private readonly gate?: Gate) {
    super({ sharedMemory: true, gathers: true, digests: ["xxh64"] });
  }

  protected override writer(inner: AttemptWriter): AttemptWriter {
    const writer = super.writer(inner);
    const gather = this.#gather.bind(this);
    return {
      ...writer,
      write: async (plan, chunks) => {
        const blocks = (await Digester.create("xxh64")).blocks(plan.blockEnds);
        async function* gathered(): AsyncGenerator<Chunk> {
          for await (const chunk of chunks) {
            await gather(chunk);
            blocks.update(chunk.bytes);
            yield chunk;
          }
        }
        const written = await writer.write(plan, gathered());
        return { ...written, digests: blocks.finish() };
      },
    };
  }

  async #gather({ bytes, sources }: Chunk): Promise<void> {
    if (!sources) {
      this.filled++;
      return;
    }
    this.lent++;
    await this.gate?.wait();
    let at = 0;
    for (const source of sources) {
      bytes.set(source, at);
      at += source.byteLength;
    }
    expect(at).toBe(bytes.byteLength);
  }
}

function open(sink: Sink, device?: number) {
  const memory = { host: 64 * KiB, ...(device !== undefined && { device }) };
  return AsyncCheckpointer.open({ backend: hostBackend(), sink, memory });
}

function shared(length: number, value: number): Float32Array {
  return new Float32Array(new SharedArrayBuffer(4 * length)).fill(value);
}

/** Two large tensors in shared memory, with one between them that is not. */
function mixedState() {
  return { model: { a: shared(20 * KiB, 1), b: new Float32Array(9 * KiB).fill(2), c: shared(20 * KiB, 3) } };
}

test("tensors in shared memory are lent where they lie, and safe to change once staged", async () => {
  const sink = new GatheringSink();
  const checkpointer = await open(sink);
  const state = mixedState();
  const save = checkpointer.save({ step: 1, state });
  await save.staged;
  for (const tensor of [state.model.c, state.model.b, state.model.a]) tensor.fill(9);
  await save.committed;
  expect(sink.lent).toBeGreaterThan(4);
  expect(sink.filled).toBeGreaterThan(2);
  const restored = await checkpointer.restore(state);
  expect(restored?.state).toEqual(mixedState());
});

test("a blocking save is not staged before what was lent has been copied", async () => {
  const gate = new Gate();
  const checkpointer = await open(new GatheringSink(gate));
  const state = { model: { a: shared(20 * KiB, 1) } };
  const save = checkpointer.save({ step: 1, state });
  await gate.reached;
  expect(await isPending(save.staged)).toBe(true);
  gate.open();
  await save.staged;
  expect(await save.committed).toMatchObject({ outcome: "committed", mode: "blocking" });
});

test("what fits into the pool is copied at once, so that it is staged at the speed of memory", async () => {
  const sink = new GatheringSink();
  const gate = new Gate();
  sink.hooks.finish = gate.before;
  const checkpointer = await open(sink);
  const save = checkpointer.save({ step: 1, state: { model: { a: shared(10 * KiB, 1) } } });
  await save.staged;
  gate.open();
  await save.committed;
  expect(sink.lent).toBe(0);
});

test("many small tensors are copied, not lent one by one", async () => {
  const sink = new GatheringSink();
  const checkpointer = await open(sink);
  const state = { model: Array.from({ length: 1000 }, (_, i) => shared(32, i)) };
  await checkpointer.save({ step: 1, state }).committed;
  expect(sink.lent).toBe(0);
  const loaded = await checkpointer.load();
  expect(loaded?.state.model?.get("499")?.data).toEqual(new Float32Array(32).fill(499));
});

test("a sink whose digests core computes is lent nothing", async () => {
  const sink = new GatheringSink();
  const checkpointer = await AsyncCheckpointer.open({
    backend: hostBackend(),
    sink,
    digest: "sha256",
    memory: { host: 64 * KiB },
  });
  await checkpointer.save({ step: 1, state: mixedState() }).committed;
  expect(sink.lent).toBe(0);
  expect((await checkpointer.latestGood())?.verified).toBe(true);
});
