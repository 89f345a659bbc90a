import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { temporaryDirectory } from "@holdfast/file-root/testing";
import { expect, test } from "vitest";

const INDEX = new URL("../dist/index.js", import.meta.url).href;

/** Runs a module in a process of its own, in an empty directory. */
async function run(code: string) {
  const directory = await temporaryDirectory();
  const args = ["--input-type=module", "-e", code];
  // Somewhere that `@holdfast/core` is found from.
  const cwd = fileURLToPath(new URL("..", import.meta.url));
  return spawnSync(process.execPath, args, {
    cwd,
    encoding: "utf8",
    env: { ...process.env, ROOT: directory },
  });
}

const PRELUDE = `
import { AsyncCheckpointer, hostBackend } from "@holdfast/core";
import { fsSink } from ${JSON.stringify(INDEX)};
const state = { model: { weight: new Float32Array(3_000_000).fill(1) } };
const checkpointer = await AsyncCheckpointer.open({ backend: hostBackend(), sink: fsSink(process.env.ROOT) });
`;

test("a process ends when its work is done, though nobody closed anything", async () => {
  const { status, stdout, stderr } = await run(`${PRELUDE}
    await checkpointer.save({ step: 1, state }).committed;
    await checkpointer.restore(state);
    console.log("done");`);
  expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: "done\n", stderr: "" });
});

test("a process does not end before its save has, though nobody waits for it", async () => {
  const { status, stdout, stderr } = await run(`${PRELUDE}
    checkpointer.save({ step: 1, state }).committed.then(({ id }) => console.log(id));`);
  expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: "step-00000001\n", stderr: "" });
});

test("a thread that is lost costs one checkpoint", async () => {
  const { stdout, stderr } = await run(`
    let doomed = true;
    process.on("worker", (worker) => {
      if (doomed) worker.on("online", () => worker.terminate());
      doomed = false;
    });
    ${PRELUDE}
    await checkpointer.save({ step: 1, state }).committed.catch(({ code }) => console.log(code));
    const { id } = await checkpointer.save({ step: 2, state }).committed;
    console.log(id, (await fsSink(process.env.ROOT).list({ all: true })).map(({ id }) => id).join());
    console.log((await checkpointer.latestGood()).id);`);
  expect({ stdout, stderr }).toEqual({
    stdout: "SINK_FAILED\nstep-00000002 step-00000002\nstep-00000002\n",
    stderr: "",
  });
});
