import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { idsOf, MEMORY, namesIn, save, temporaryDirectory } from "@holdfast/file-root/testing";
import { build } from "tsup";
import { expect, onTestFinished, test } from "vitest";
import { fsSink } from "./index";

const CONTENDERS = 5;
const KILLS = 15;
const COMMITS = 40;

/**
 * Real processes race for one root, each saving whenever it has the lock. Some are killed while they hold
 * it. None may ever hold it beside another, and what was committed is there.
 */
test.runIf(process.platform === "linux")(
  "one of many processes holds the root, though holders are killed (needs Linux)",
  async () => {
    const program = await bundle(new URL("./testing/contender.ts", import.meta.url));
    const root = join(await temporaryDirectory(MEMORY), "checkpoints");
    const name = randomUUID();

    const committed: string[] = [];
    const exits: (number | null)[] = [];
    const living = new Set<ChildProcess>();
    let started = 0;
    let kills = 0;
    await new Promise<void>((resolve) => {
      const start = () => {
        const arguments_ = [program, root, name, String(++started * 10_000)];
        const child = spawn(process.execPath, arguments_, { stdio: ["ignore", "pipe", "inherit"] });
        living.add(child);
        child.once("exit", (code) => {
          living.delete(child);
          exits.push(code);
          if (code !== null) resolve();
          else if (living.size < CONTENDERS && !isDone()) start();
        });
        createInterface(child.stdout).on("line", (line) => {
          const id = /^committed (\d+)$/.exec(line)?.[1];
          if (id) committed.push(`step-${id.padStart(8, "0")}`);
          else if (kills < KILLS && kills * 2 < committed.length + 2 && child.kill("SIGKILL")) kills++;
          if (isDone()) resolve();
        });
      };
      const isDone = () => kills >= KILLS && committed.length >= COMMITS;
      for (let i = 0; i < CONTENDERS; i++) start();
    });
    const last = [...living];
    for (const child of last) child.kill("SIGKILL");
    await Promise.all(last.map((child) => child.exitCode ?? child.signalCode ?? once(child, "exit")));

    expect(exits.filter((code) => code !== null)).toEqual([]);
    const sink = fsSink(root);
    onTestFinished(() => sink.close());
    await save(sink, 1); // at once: the last holder is dead
    await sink.sweep();
    const ids = await idsOf(sink);
    expect(ids).toEqual(expect.arrayContaining(committed));
    expect(await namesIn(root)).toEqual(ids);
  },
);

/** A program of this package's sources, as one file. */
async function bundle(source: URL): Promise<string> {
  const outDir = await temporaryDirectory();
  await build({
    entry: { program: fileURLToPath(source) },
    outDir,
    outExtension: () => ({ js: ".mjs" }),
    format: "esm",
    target: "node20",
    noExternal: [/.*/],
    config: false,
    silent: true,
  });
  return join(outDir, "program.mjs");
}
