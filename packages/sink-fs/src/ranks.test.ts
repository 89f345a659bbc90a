import { mkdir, readdir, readFile, rename, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Sink } from "@holdfast/core";
import {
  beginRanks,
  bytesOf,
  contentOf,
  describeOwner,
  FaultyFileOps,
  Lender,
  namesIn,
  RootSink,
  rankAttempt,
  save,
  savedByRanks,
  saveRanks,
  smallFiles,
  temporaryDirectory,
} from "@holdfast/file-root/testing";
import { describe, expect, onTestFinished, test } from "vitest";
import { DIRECTORY } from "./directory";
import { fsSink } from "./index";

const ID = "step-00000001";
const ATTEMPT = ".attempt-run-1";

function sinkOn(root: string, before: (path: string, name: string) => unknown = () => {}): Sink {
  const ops = new FaultyFileOps(async ({ path, name }) => {
    await before(path, name);
    return undefined;
  });
  const sink = new RootSink(DIRECTORY, root, ops, describeOwner);
  onTestFinished(async () => {
    await sink.close();
    expect(ops.openFiles).toBe(0);
  });
  return sink;
}

describe("several ranks", () => {
  test("leave a directory each, and nothing of the attempt", async () => {
    const root = join(await temporaryDirectory(), "made", "by whoever comes first");
    const sinks = [sinkOn(root), sinkOn(root), sinkOn(root)];
    await saveRanks(sinks, 1);
    expect(await namesIn(root)).toEqual([ID]);
    expect((await readdir(join(root, ID))).sort()).toEqual([
      "checkpoint.json",
      "rank_0",
      "rank_1",
      "rank_2",
      "sharding_meta.json",
    ]);
    expect((await readdir(join(root, ID, "rank_1"))).sort()).toEqual([
      "empty.bin",
      "manifest.json",
      "model.safetensors",
    ]);
    expect(await contentOf(sinkOn(root), ID)).toEqual(savedByRanks(1, 3));
  });

  test("but for rank 0 make the root and take no lock", async () => {
    const root = join(await temporaryDirectory(), "not", "there");
    const [zero, one, other] = [sinkOn(root), sinkOn(root), sinkOn(root)];
    const writer = await one.begin(rankAttempt(1), 1);
    expect(await readdir(root)).toEqual([ATTEMPT]);
    await save(other, 7); // which takes the lock
    const refused = { code: "ROOT_LOCKED" };
    await expect(zero.begin(rankAttempt(1), 0)).rejects.toMatchObject(refused);
    // Rank 1 need not wait for a rank 0 that cannot begin.
    expect((await one.status(rankAttempt(1))).failed).toEqual([
      { rank: 0, reason: expect.stringContaining("is being written to by pid") },
    ]);
    await writer.abort();
  });

  test.each(["model.safetensors", "rank_0/model.safetensors", "rank_10/model.safetensors"])(
    "write below their own directory, not %s",
    async (path) => {
      const writer = await sinkOn(await temporaryDirectory()).begin(rankAttempt(1), 1);
      const plan = { path, byteLength: 10, blockEnds: [] };
      await expect(writer.write(plan, new Lender().chunks(bytesOf(10, 1)))).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: expect.stringContaining("below rank_1/"),
      });
    },
  );

  test("whose mark is anything but a short text have an unreadable one", async () => {
    const root = await temporaryDirectory();
    const sink = sinkOn(root);
    const writer = await sink.begin(rankAttempt(1, 9), 0);
    await writer.fail("ä".repeat(5000));
    const at = (rank: string) => join(root, ATTEMPT, `rank_${rank}.failed`);
    await writeFile(at("1"), new Uint8Array(5000).fill(65));
    await writeFile(at("2"), new Uint8Array([0xff, 0xfe]));
    await mkdir(at("3"));
    await symlink("/etc/hostname", at("4"));
    for (const rank of ["05", "-1", "1e3", "99999999999999999999"]) await writeFile(at(rank), "no rank's");
    const reason = "it left a mark that cannot be read";
    expect((await sink.status(rankAttempt(1, 9))).failed).toEqual([
      { rank: 0, reason: "ä".repeat(2048) },
      ...[1, 2, 3, 4].map((rank) => ({ rank, reason })),
    ]);
  });

  // Whatever rank 1 does at each of rank 0's operations, the checkpoint is whole, and nothing else is in it.
  test.each(["a mark", "an abort", "another begin of the same rank"])(
    "commit nothing of %s that comes late",
    async (what) => {
      for (let at = 0, happened = true; happened; at++) {
        happened = false;
        const root = await temporaryDirectory();
        let left = Number.POSITIVE_INFINITY;
        let late: () => Promise<unknown> = async () => {};
        const zero = sinkOn(root, async () => {
          if (left-- !== 0) return;
          happened = true;
          await late().catch(() => {}); // it may come too late
        });
        const one = sinkOn(root);
        const [, writer] = await beginRanks([zero, one], rankAttempt(1));
        late = async () => {
          if (what === "a mark") return writer?.fail("late");
          if (what === "an abort") return writer?.abort();
          return sinkOn(root).begin(rankAttempt(1), 1);
        };
        left = at;
        await zero.commit(rankAttempt(1), ID, smallFiles(1));
        left = Number.POSITIVE_INFINITY;
        expect(await contentOf(zero, ID)).toEqual(savedByRanks(1));
        expect((await readdir(join(root, ID))).sort()).toEqual([
          "checkpoint.json",
          "rank_0",
          "rank_1",
          "sharding_meta.json",
        ]);
        expect(await one.status(rankAttempt(1))).toMatchObject({ committed: true });
      }
    },
  );

  test("have finished, even if rank 0 commits before they know it", async () => {
    const root = await temporaryDirectory();
    const zero = sinkOn(root);
    let moved = false;
    let committing: Promise<void> | undefined;
    const one = sinkOn(root, async (path, name) => {
      if (moved) committing ??= zero.commit(rankAttempt(1), ID, smallFiles(1));
      if (name === "rename" && path.endsWith("rank_1")) moved = true;
      await committing;
    });
    await beginRanks([zero, one], rankAttempt(1));
    expect(committing).toBeDefined();
    expect(await contentOf(zero, ID)).toEqual(savedByRanks(1));
    expect(await one.status(rankAttempt(1))).toMatchObject({ committed: true });
  });

  test("are told that an attempt is over, even if another directory has its name", async () => {
    const root = await temporaryDirectory();
    const one = sinkOn(root);
    const writer = await one.begin(rankAttempt(1), 1);
    await rename(join(root, ATTEMPT), join(root, ".trash-1"));
    const over = { code: "SINK_FAILED", message: expect.stringContaining(`${ATTEMPT} is over`) };
    await expect(writer.finish(new Uint8Array(1))).rejects.toMatchObject(over);
    await expect(one.status(rankAttempt(1))).rejects.toMatchObject(over);
    await mkdir(join(root, ATTEMPT));
    await mkdir(join(root, ID));
    await expect(one.status(rankAttempt(1))).rejects.toMatchObject(over);
  });

  test("see a commit that was begun as an attempt that goes on", async () => {
    const root = await temporaryDirectory();
    const seen: unknown[] = [];
    let one: Sink | undefined;
    const zero = sinkOn(root, async (path, name) => {
      if (one && name === "write" && path.endsWith("checkpoint.json"))
        seen.push(await one.status(rankAttempt(1)));
    });
    one = sinkOn(root);
    await saveRanks([zero, one], 1);
    expect(seen).toEqual([{ finished: [0, 1], failed: [], committed: false }]);
  });
});

test("a directory of archives is another sink's", async () => {
  const root = await temporaryDirectory();
  await mkdir(join(root, ID));
  for (const name of ["rank_0.tar", "checkpoint.json"]) await writeFile(join(root, ID, name), "{}");
  const sink = fsSink(root);
  onTestFinished(() => sink.close());
  expect(await sink.list({ all: true })).toEqual([]);
  await expect(sink.open(ID)).rejects.toMatchObject({ code: "CHECKPOINT_NOT_FOUND" });
  await expect(sink.delete(ID)).rejects.toMatchObject({ code: "CHECKPOINT_NOT_FOUND" });
  expect(await readFile(join(root, ID, "checkpoint.json"), "utf8")).toBe("{}");
});
