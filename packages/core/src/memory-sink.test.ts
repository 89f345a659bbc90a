import { describe, expect, test } from "vitest";
import { sinkConformance } from "./conformance";
import { memorySink } from "./memory-sink";
import type { Attempt, Chunk, Sink } from "./sink";

sinkConformance(
  { describe, test },
  {
    name: "memory",
    capabilities: memorySink().capabilities,
    async create() {
      const sink = memorySink();
      return { sink, reopen: async () => sink, join: async () => sink };
    },
  },
);

describe("memorySink", () => {
  test("is one writer, whoever shares it: a second one goes on when the first closes", async () => {
    const sink = memorySink();
    const [one, other] = [attempt("one"), attempt("other")];
    await finish(sink, one);
    await sink.close();
    await finish(sink, other);
    const record = { path: "checkpoint.json", bytes: new Uint8Array() };
    await sink.commit(other, "step-00000007", [record]);
    await sink.commit(one, "step-00000007.r2", [record]);
    expect(await sink.list({ all: true })).toEqual([
      { id: "step-00000007", state: "committed" },
      { id: "step-00000007.r2", state: "committed" },
    ]);
  });

  test("names the attempt, the file and the numbers in its errors", async () => {
    const sink = memorySink();
    const writer = await sink.begin(attempt("run"), 0);
    const plan = { path: "model.safetensors", byteLength: 3, blockEnds: [3] };
    await expect(writer.write(plan, chunks(2))).rejects.toThrow(/model.safetensors: 3 bytes .* 2 came$/);
    await expect(sink.commit(attempt("run"), "step-00000007", [])).rejects.toThrow(
      /attempt-step-00000007-run-1 is not finished.* step-00000007 /,
    );
    await expect(sink.open("step-00000007")).rejects.toThrow(/step-00000007/);
    await finish(sink, attempt("run"));
    await sink.commit(attempt("run"), "step-00000007", []);
    const reader = await sink.open("step-00000007");
    await expect(reader.read("manifest.json", 1, new Uint8Array(4))).rejects.toThrow(
      /step-00000007: manifest.json ends at byte 2, where byte 5 is needed/,
    );
    await expect(reader.read("model.safetensors", 0, new Uint8Array(1))).rejects.toThrow(
      /model.safetensors is missing/,
    );
  });

  test("a writer whose attempt began anew is over, and cannot harm the new one", async () => {
    const sink = memorySink();
    const old = await sink.begin(attempt("run"), 0);
    await finish(sink, attempt("run"));
    await expect(old.finish(new Uint8Array(9))).rejects.toThrow(
      expect.objectContaining({ code: "SINK_FAILED" }),
    );
    await old.abort();
    await sink.commit(attempt("run"), "step-00000007", []);
    expect((await sink.open("step-00000007")).files.get("manifest.json")?.byteLength).toBe(2);
  });
});

function attempt(runId: string): Attempt {
  return { runId, step: 7, ordinal: 1, worldSize: 1 };
}

async function finish(sink: Sink, of: Attempt): Promise<void> {
  const writer = await sink.begin(of, 0);
  await writer.finish(new TextEncoder().encode("{}"));
}

async function* chunks(byteLength: number): AsyncGenerator<Chunk> {
  yield { bytes: new Uint8Array(byteLength), release() {} };
}
