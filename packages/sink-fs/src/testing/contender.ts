/**
 * A process that takes its turn at a root again and again, saving one checkpoint each time, until it is
 * killed. It exits with 3 if it ever holds the lock and is not alone.
 *
 * Arguments: the root, a name that only this root's contenders use, its first step.
 */
import { createServer, type Server } from "node:net";
import { setTimeout } from "node:timers/promises";
import { isHoldfastError } from "@holdfast/core";
import { describeOwner, nodeFileOps, RootSink } from "@holdfast/file-root/testing";
import { DIRECTORY } from "../directory";

const [root = "", name = "", first = ""] = process.argv.slice(2);
const record = { path: "checkpoint.json", bytes: new Uint8Array([1]) };

for (let step = Number(first); ; step++) {
  const sink = new RootSink(DIRECTORY, root, nodeFileOps, describeOwner);
  const attempt = { runId: `pid-${process.pid}`, step, ordinal: step, worldSize: 1 };
  try {
    const writer = await sink.begin(attempt, 0);
    const alone = await listenAlone();
    process.stdout.write("holding\n");
    await sink.sweep();
    await writer.write({ path: "a.bin", byteLength: 0, blockEnds: [] }, (async function* () {})());
    await writer.finish(new Uint8Array([step]));
    await sink.commit(attempt, `step-${String(step).padStart(8, "0")}`, [record]);
    process.stdout.write(`committed ${step}\n`);
    await new Promise((resolve) => alone.close(resolve));
  } catch (error) {
    if (!isHoldfastError(error, "ROOT_LOCKED")) throw error;
    await setTimeout(Math.random() * 5);
  }
  await sink.close();
}

/** Two processes cannot listen at one abstract socket, and Linux takes it back from one that is killed. */
function listenAlone(): Promise<Server> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (error) => {
      process.stderr.write(`not alone: ${error.message}\n`);
      process.exit(3);
    });
    server.listen(`\0holdfast-${name}`, () => resolve(server));
  });
}
