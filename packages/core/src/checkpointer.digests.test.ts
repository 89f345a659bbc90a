import { describe, expect, test } from "vitest";
import { AsyncCheckpointer } from "./checkpointer";
import { KiB, MiB } from "./chunk-pool";
import { type DigestAlgorithm, Digester } from "./digest";
import { decodeManifest } from "./manifest";
import type { AttemptWriter, BeginOptions, Sink } from "./sink";
import { TestBackend } from "./test-backends";
import { contents, TestSink } from "./test-kit";
import { exampleState } from "./test-state";

/** Computes digests by itself, as the engine of an object store does. */
class DigestingSink extends TestSink {
  readonly asked: BeginOptions["digest"][] = [];
  /** What it makes of a digest. */
  forge: (digest: string) => string = (digest) => digest;

  constructor(private readonly algorithm: DigestAlgorithm) {
    super({ digests: [algorithm] });
  }

  override begin(...args: Parameters<Sink["begin"]>): Promise<AttemptWriter> {
    this.asked.push(args[2]?.digest);
    return super.begin(...args);
  }

  protected override writer(inner: AttemptWriter): AttemptWriter {
    const writer = super.writer(inner);
    return {
      ...writer,
      write: async (plan, chunks) => {
        const blocks = (await Digester.create(this.algorithm)).blocks(plan.blockEnds);
        async function* digested() {
          for await (const chunk of chunks) {
            blocks.update(chunk.bytes);
            yield chunk;
          }
        }
        const written = await writer.write(plan, digested());
        return { ...written, digests: blocks.finish().map(this.forge) };
      },
    };
  }
}

async function manifestOf(sink: TestSink) {
  const [id = ""] = (await sink.inner.list()).map((checkpoint) => checkpoint.id);
  const reader = await sink.inner.open(id);
  const bytes = new Uint8Array(reader.files.get("manifest.json")?.byteLength ?? 0);
  await reader.read("manifest.json", 0, bytes);
  return { ...decodeManifest(bytes, "manifest.json"), reader };
}

async function save(sink: TestSink, digest?: DigestAlgorithm, host = 16 * KiB) {
  const backend = new TestBackend();
  const checkpointer = await AsyncCheckpointer.open({
    backend,
    sink,
    memory: { host },
    ...(digest && { digest }),
  });
  await checkpointer.save({ step: 1, state: exampleState() }).committed;
  return checkpointer;
}

describe("digests", () => {
  test.each(["xxh64", "sha256"] as const)(
    "%s: one of every block, named in the manifest",
    async (algorithm) => {
      const sink = new TestSink();
      const checkpointer = await save(sink, algorithm);
      const { digest, blockBytes, tensors, files, reader } = await manifestOf(sink);
      expect([digest, blockBytes]).toEqual([algorithm, 4 * KiB]);
      const digester = await Digester.create(algorithm);
      for (const { shards } of tensors) {
        for (const { file, start, end, digests } of shards) {
          const bytes = new Uint8Array(end - start);
          await reader.read(files[file]?.path ?? "", start, bytes);
          const blocks = Array.from({ length: Math.ceil((end - start) / blockBytes) }, (_, i) =>
            digester.digest(bytes.subarray(i * blockBytes, (i + 1) * blockBytes)),
          );
          expect(digests).toEqual(blocks);
        }
      }
      expect(await checkpointer.latestGood()).toMatchObject({ id: "step-00000001", verified: true });
    },
  );

  test("are xxh64 of at most 8 MiB, unless something else was asked for", async () => {
    const sink = new TestSink();
    const checkpointer = await AsyncCheckpointer.open({ backend: new TestBackend(), sink });
    await checkpointer.save({ step: 1, state: { model: [new Uint8Array(20 * MiB)] } }).committed;
    const { digest, blockBytes, tensors } = await manifestOf(sink);
    expect([digest, blockBytes]).toEqual(["xxh64", 8 * MiB - 8 * KiB]);
    expect(tensors[0]?.shards[0]?.digests).toHaveLength(3);
  });
});

describe("a sink that computes digests", () => {
  test("is asked for them, and believed", async () => {
    const sink = new DigestingSink("sha256");
    const checkpointer = await save(sink, "sha256");
    expect(sink.asked).toEqual(["sha256"]);
    expect((await checkpointer.latestGood())?.verified).toBe(true);
    const byCore = new TestSink();
    await save(byCore, "sha256");
    const [{ tensors, files }, other] = [await manifestOf(sink), await manifestOf(byCore)];
    expect({ tensors, files }).toEqual({ tensors: other.tensors, files: other.files });
  });

  test("is found out where they are wrong, when the checkpoint is read back", async () => {
    const sink = new DigestingSink("sha256");
    sink.forge = (digest) => digest.replace(/^./, (first) => (first === "0" ? "1" : "0"));
    const checkpointer = await save(sink, "sha256");
    expect(await contents(sink.inner)).toEqual(["step-00000001 committed"]);
    await expect(checkpointer.latestGood()).rejects.toMatchObject({ code: "NO_GOOD_CHECKPOINT" });
  });

  test.each(["", "ABCDEF".padEnd(64, "0"), "12"])(
    "fails the save with what is no digest: %j",
    async (digest) => {
      const sink = new DigestingSink("sha256");
      sink.forge = () => digest;
      await expect(save(sink, "sha256")).rejects.toMatchObject({
        code: "SINK_FAILED",
        message: expect.stringContaining("sha256"),
      });
      expect(await contents(sink.inner)).toEqual([]);
    },
  );

  test("is not asked for an algorithm that it does not have: core computes it", async () => {
    const sink = new DigestingSink("sha256");
    sink.forge = () => "not looked at";
    const checkpointer = await save(sink);
    expect(sink.asked).toEqual([undefined]);
    expect((await manifestOf(sink)).digest).toBe("xxh64");
    expect((await checkpointer.latestGood())?.verified).toBe(true);
  });
});
