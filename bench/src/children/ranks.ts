/** A save of several ranks on one root, each a process of its own, until all of them know that it is committed. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { answer, gbPerS } from "../kit/child";
import type { StateOptions } from "../kit/state";
import type { Calls, RankOptions } from "./rank";

export interface RanksOptions extends StateOptions {
  readonly ranks: number;
}

const PROGRAM = fileURLToPath(new URL("./rank.js", import.meta.url));
const POLLS = "status";

await answer<RanksOptions>(async ({ dir, ranks, bytes, tensors }) => {
  const root = await mkdtemp(join(dir, "ranks-"));
  const children = Array.from({ length: ranks }, (_, rank) => {
    const options: RankOptions = { root, rank, worldSize: ranks, bytes, tensors };
    return fork(PROGRAM, [JSON.stringify(options)]);
  });
  await Promise.all(children.map(heard));
  let ms = 0;
  let calls: readonly Calls[] = [];
  // The second one counts: what is started and planned once is in the first.
  for (const step of [1, 2]) {
    const startedAt = performance.now();
    calls = await Promise.all(children.map((child) => saved(child, step)));
    ms = performance.now() - startedAt;
  }
  for (const child of children) child.kill("SIGKILL");
  const small = await smallFilesIn(join(root, "step-00000002"));
  await rm(root, { recursive: true });
  const all = calls.flatMap((one) => Object.entries(one));
  const sum = (polls: boolean) =>
    all.reduce((total, [name, count]) => total + ((name === POLLS) === polls ? count : 0), 0);
  return { ms, gbPerS: gbPerS(bytes, ms), polls: sum(true), requests: sum(false), small };
});

/** Has a rank save, and returns what that took. */
async function saved(child: ChildProcess, step: number): Promise<Calls> {
  child.send(step);
  return (await heard(child)) as Calls;
}

/** What a child says next. */
async function heard(child: ChildProcess): Promise<unknown> {
  const ended = once(child, "exit").then(([code]) => {
    throw new Error(`a rank ended with exit code ${code}`);
  });
  const [message] = await Promise.race([once(child, "message"), ended]);
  return message;
}

/** How many files there are beside the tensors'. */
async function smallFilesIn(checkpoint: string): Promise<number> {
  let count = 0;
  for (const name of await readdir(checkpoint, { recursive: true })) {
    if (name.endsWith(".safetensors")) continue;
    if ((await stat(join(checkpoint, name))).isFile()) count++;
  }
  return count;
}
