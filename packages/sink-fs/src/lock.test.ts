import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile, truncate, unlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  attemptAt,
  describeOwner,
  FaultyFileOps,
  idsOf,
  livenessOf,
  nodeFileOps,
  type Owner,
  RootSink,
  save,
  temporaryDirectory,
} from "@holdfast/file-root/testing";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { DIRECTORY } from "./directory";

const MINUTE = 60_000;

/** A sink of an owner that differs from this process in some way; given back when the test is over. */
function sinkOf(root: string, owner: Partial<Owner> = {}, ops = nodeFileOps): RootSink {
  const sink = new RootSink(DIRECTORY, root, ops, async () => ({ ...(await describeOwner()), ...owner }));
  onTestFinished(() => sink.close());
  return sink;
}

async function locksIn(root: string): Promise<readonly string[]> {
  return (await readdir(root)).filter((name) => name.startsWith(".lock-")).sort();
}

/** Makes the highest lock as old as a heartbeat that was missed for so long. */
async function age(root: string, ms: number): Promise<void> {
  const path = join(root, (await locksIn(root)).at(-1) ?? "no lock");
  const { modifiedMs } = await nodeFileOps.lstat(path);
  const then = new Date(modifiedMs - ms);
  await utimes(path, then, then);
}

describe("one writer at a time", () => {
  test("a second sink of this process is refused, and told so", async () => {
    const root = await temporaryDirectory();
    const [first, second] = [sinkOf(root), sinkOf(root)];
    await save(first, 1);
    const refusals = [second.begin(attemptAt(2), 0), second.delete("step-00000001"), second.sweep()];
    for (const refusal of refusals) {
      await expect(refusal).rejects.toMatchObject({
        code: "ROOT_LOCKED",
        message: expect.stringMatching(new RegExp(`pid ${process.pid} on .+ since 20.+this process`)),
      });
    }
    expect(await idsOf(second)).toEqual(["step-00000001"]);
    await first.close();
    await save(second, 2);
    expect(await idsOf(first)).toEqual(["step-00000001", "step-00000002"]);
    await expect(save(first, 3)).rejects.toMatchObject({ code: "ROOT_LOCKED" });
  });

  test("a sink can be used again after it was closed", async () => {
    const root = await temporaryDirectory();
    const sink = sinkOf(root);
    for (const step of [1, 2, 3]) {
      await save(sink, step);
      await sink.close();
      await sink.close();
    }
    expect(await idsOf(sink)).toHaveLength(3);
    // The last one, and the one before it, which a listing that is under way may still need.
    expect(await locksIn(root)).toEqual([".lock-000002", ".lock-000003"]);
  });

  test("calls at the same time share one lock", async () => {
    const root = await temporaryDirectory();
    const sink = sinkOf(root);
    await Promise.all([1, 2, 3].map((step) => save(sink, step)));
    expect(await locksIn(root)).toEqual([".lock-000001"]);
    await Promise.all([sink.sweep(), sink.close(), save(sink, 4), sink.sweep()]);
    expect(await idsOf(sink)).toHaveLength(4);
  });

  test("reading, listing, sweeping and deleting make no root", async () => {
    const root = join(await temporaryDirectory(), "absent");
    const sink = sinkOf(root);
    expect(await sink.list({ all: true })).toEqual([]);
    expect(await sink.sweep()).toEqual([]);
    await expect(sink.delete("step-00000001")).rejects.toMatchObject({ code: "CHECKPOINT_NOT_FOUND" });
    await expect(sink.open("step-00000001")).rejects.toMatchObject({ code: "CHECKPOINT_NOT_FOUND" });
    await expect(readdir(root)).rejects.toThrow("ENOENT");
  });
});

describe("taking over", () => {
  test("from a process that is gone", async () => {
    const root = await temporaryDirectory();
    await sinkOf(root, { pid: 2 ** 22 + 1 }).begin(attemptAt(1), 0);
    await save(sinkOf(root), 2);
  });

  test.runIf(process.platform === "linux")(
    "from a process whose pid was given out again (needs Linux)",
    async () => {
      const root = await temporaryDirectory();
      await sinkOf(root, { started: "1" }).begin(attemptAt(1), 0);
      await save(sinkOf(root), 2);
    },
  );

  test.runIf(process.platform === "linux")(
    "from a process that was killed, but not waited for (needs Linux)",
    async () => {
      // The shell starts a child, and becomes a program that does not know of it.
      const parent = spawn("sh", ["-c", "sleep 60 & echo $!; exec sleep 60"], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      onTestFinished(() => end(parent));
      const pid = Number(String((await once(parent.stdout, "data"))[0]));
      await vi.waitUntil(async () => (await readFile(`/proc/${parent.pid}/comm`, "utf8")) === "sleep\n");
      const { started } = await describeProcess(pid);
      process.kill(pid, "SIGKILL");
      await vi.waitUntil(async () => (await readFile(`/proc/${pid}/stat`, "utf8")).includes(") Z "));

      const root = await temporaryDirectory();
      await sinkOf(root, { pid, started }).begin(attemptAt(1), 0);
      await save(sinkOf(root), 2);
    },
  );

  test("not from a process that lives, however old its heartbeat", async () => {
    const parent = spawn("sleep", ["60"], { stdio: "ignore" });
    onTestFinished(() => end(parent));
    const root = await temporaryDirectory();
    const { started } = await describeProcess(parent.pid ?? 0);
    await sinkOf(root, { pid: parent.pid ?? 0, started }).begin(attemptAt(1), 0);
    await age(root, 10 * MINUTE);
    await expect(save(sinkOf(root), 2)).rejects.toMatchObject({
      code: "ROOT_LOCKED",
      message: expect.stringContaining(`pid ${parent.pid}`),
    });
    await end(parent);
    await save(sinkOf(root), 2);
  });

  const elsewhere: [string, Partial<Owner>][] = [
    ["another host", { host: "elsewhere" }],
    ["another boot", { boot: "00000000-0000-0000-0000-000000000000" }],
    ["another pid namespace", { pidNamespace: "pid:[1]" }],
  ];
  test.each(elsewhere)("from %s, when it was silent for a minute", async (_, owner) => {
    const root = await temporaryDirectory();
    const there = sinkOf(root, { ...owner, pid: 2 ** 22 + 1 });
    const writer = await there.begin(attemptAt(1), 0);
    await age(root, MINUTE - 5000);
    const refused = { code: "ROOT_LOCKED", message: expect.stringContaining("60 s") };
    await expect(save(sinkOf(root), 2)).rejects.toMatchObject(refused);
    await age(root, 10_000);
    const here = sinkOf(root);
    await save(here, 2);

    // The silent one wakes up: it commits nothing, and takes its turn like any other.
    const plan = { path: "a.bin", byteLength: 0, blockEnds: [] };
    await writer.write(plan, (async function* () {})());
    await writer.finish(new Uint8Array());
    const record = { path: "checkpoint.json", bytes: new Uint8Array() };
    const commit = there.commit(attemptAt(1), "step-00000001", [record]);
    await expect(commit).rejects.toMatchObject({ code: "LOCK_LOST" });
    await expect(save(there, 3)).rejects.toMatchObject({ code: "ROOT_LOCKED" });
    expect(await here.list({ all: true })).toEqual([{ id: "step-00000002", state: "committed" }]);
    await here.close();
    await age(root, MINUTE * 2);
    await save(there, 3);
  });

  test("silence is measured by the file system's clock", async () => {
    const root = await temporaryDirectory();
    await sinkOf(root, { host: "elsewhere" }).begin(attemptAt(1), 0);
    vi.useFakeTimers({ now: Date.now() + 60 * MINUTE, toFake: ["Date"] });
    onTestFinished(() => {
      vi.useRealTimers();
    });
    await expect(save(sinkOf(root), 2)).rejects.toMatchObject({ code: "ROOT_LOCKED" });
  });

  test("a heartbeat is heard", async () => {
    const root = await temporaryDirectory();
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
    onTestFinished(() => {
      vi.useRealTimers();
    });
    const there = sinkOf(root, { host: "elsewhere" });
    await there.begin(attemptAt(1), 0);
    await age(root, 10 * MINUTE);
    vi.advanceTimersByTime(10_000);
    await vi.waitUntil(async () => {
      const { modifiedMs } = await nodeFileOps.lstat(join(root, ".lock-000001"));
      return Date.now() - modifiedMs < MINUTE;
    });
    await expect(save(sinkOf(root), 2)).rejects.toMatchObject({ code: "ROOT_LOCKED" });
  });

  test("not with a number that was passed long ago", async () => {
    const root = await temporaryDirectory();
    // It has seen no lock and is about to make the first, when three others have their turns.
    let slow = true;
    const ops = new FaultyFileOps(async ({ name }) => {
      if (!slow || name !== "link") return undefined;
      slow = false;
      for (const step of [1, 2]) {
        const other = sinkOf(root);
        await save(other, step);
        await other.close();
      }
      await sinkOf(root).begin(attemptAt(3), 0);
      expect(await locksIn(root)).not.toContain(".lock-000001");
      return undefined;
    });
    await expect(save(sinkOf(root, {}, ops), 4)).rejects.toMatchObject({ code: "ROOT_LOCKED" });
    const linked = ops.log.find(({ name }) => name === "link")?.path;
    expect(linked).toBe(join(root, ".lock-000001"));
    expect(await locksIn(root)).toEqual([".lock-000002", ".lock-000003"]);
  });

  test("locks that were removed by hand are lost", async () => {
    const root = await temporaryDirectory();
    const [first, second] = [sinkOf(root), sinkOf(root)];
    await first.begin(attemptAt(1), 0);
    await unlink(join(root, ".lock-000001"));
    await save(second, 2);
    await expect(save(first, 3)).rejects.toMatchObject({ code: "ROOT_LOCKED" });
  });
});

test("a lock that claims a terabyte is not read into memory, and is held until it is old", async () => {
  const root = await temporaryDirectory();
  await writeFile(join(root, ".lock-000007"), "");
  await truncate(join(root, ".lock-000007"), 2 ** 40);
  await expect(save(sinkOf(root), 1)).rejects.toMatchObject({ code: "ROOT_LOCKED" });
  await age(root, 2 * MINUTE);
  await save(sinkOf(root), 1);
});

describe("file systems without hard links", () => {
  const withoutLinks = () =>
    new FaultyFileOps(({ name }) => (name === "link" ? { errno: "EPERM", when: "before" } : undefined));

  test("are locked all the same", async () => {
    const root = await temporaryDirectory();
    const [first, second] = [sinkOf(root, {}, withoutLinks()), sinkOf(root, {}, withoutLinks())];
    await save(first, 1);
    await expect(save(second, 2)).rejects.toMatchObject({ code: "ROOT_LOCKED" });
    await first.close();
    await save(second, 2);
    expect(await locksIn(root)).toEqual([".lock-000001", ".lock-000002"]);
  });

  test("a lock that is not written yet is held, until it is old", async () => {
    const root = await temporaryDirectory();
    await writeFile(join(root, ".lock-000007"), '{"held":1,"host":"no');
    await expect(save(sinkOf(root), 1)).rejects.toMatchObject({
      code: "ROOT_LOCKED",
      message: expect.stringContaining("not signed"),
    });
    await age(root, 2 * MINUTE);
    await save(sinkOf(root), 1);
    expect(await locksIn(root)).toEqual([".lock-000007", ".lock-000008"]);
  });
});

async function describeProcess(pid: number): Promise<{ started: string | null }> {
  const self = await describeOwner();
  if (self.started === null) return { started: null };
  const stat = await readFile(`/proc/${pid}/stat`, "utf8");
  const started = stat.split(") ")[1]?.split(" ")[19] ?? null;
  expect(await livenessOf({ ...self, pid, started }, self)).toBe("alive");
  return { started };
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill("SIGKILL");
  await once(child, "exit");
}
