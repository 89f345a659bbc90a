// One rank of several, which does as it is told. Usage: node rank.mjs OPTIONS, which are JSON.
//
// Orders come as lines:                       It says, each a line of JSON:
//   save STEP                                   ["ready"]
//   run STEP      saves again and again         ["staged", STEP]  and the tensors are overwritten
//   stop POINT    halt there when it comes by   ["committed", STEP, ID]
//   go            from where it halts           ["failed", STEP, CODE, MESSAGE]
//   restore STEP                                ["at", POINT]
//   exit                                        ["restored", STEP, ID]
import { writeSync } from "node:fs";
import { createInterface } from "node:readline";
import { AsyncCheckpointer, hostBackend, keepLast } from "@holdfast/core";
import { fsSink } from "@holdfast/sink-fs";
import { tarSink } from "@holdfast/sink-tar";
import { halting } from "./halting-sink.mjs";
import { RankState, shardingOf } from "./rank-state.mjs";

/** @type {import("./rank-state.mjs").Place & { root: string, kind: string, runId: string, deadline: number, keep?: number }} */
const { root, kind, runId, deadline, keep, ...place } = JSON.parse(process.argv[2] ?? "");
const { rank, worldSize } = place;
/** @type {string | undefined} */
let stopAt;
let go = () => {};
const sink = halting(kind === "archives" ? tarSink(root) : fsSink(root), async (point) => {
  if (point !== stopAt) return;
  stopAt = undefined;
  /** @type {Promise<void>} */
  const released = new Promise((resolve) => {
    go = resolve;
  });
  say("at", point);
  await released;
});
const checkpointer = await AsyncCheckpointer.open({
  backend: hostBackend(),
  sink,
  memory: { host: 256 * 1024 }, // less than the state, so that the save is under way when its tensors change
  ...(keep !== undefined && { retention: [keepLast(keep)] }),
  ...(worldSize > 1 && { runId, rank, worldSize, sharding: shardingOf(place), deadline }),
});
const state = new RankState(place);

const lines = createInterface(process.stdin);
lines.on("line", (line) => {
  const [order, argument = ""] = line.split(" ");
  if (order === "stop") stopAt = argument;
  if (order === "go") go();
  if (order === "save") void save(Number(argument));
  if (order === "run") void run(Number(argument));
  if (order === "restore") void restore(Number(argument));
  if (order === "exit") void exit();
});
lines.on("close", () => process.exit()); // whoever gives the orders is gone
say("ready");

async function save(/** @type {number} */ step) {
  state.fill(step);
  const saving = checkpointer.save({ step, state: state.groups, extra: { step }, rankExtra: { rank, step } });
  const ended = saving.committed.then(
    (result) => {
      if (result.outcome === "committed" && result.housekeeping) throw result.housekeeping;
      say(result.outcome, step, result.id);
    },
    (error) => say("failed", step, error.code, error.message),
  );
  await saving.staged;
  state.overwrite();
  say("staged", step);
  await ended;
}

async function run(/** @type {number} */ from) {
  for (let step = from; ; step++) await save(step);
}

async function restore(/** @type {number} */ step) {
  const { id, extra } = await checkpointer.restore(state.groups, { step });
  if (state.differs(step)) throw new Error(`${id} restored to something else`);
  if (JSON.stringify(extra) !== JSON.stringify({ step })) throw new Error(`${id} has another's extra`);
  say("restored", step, id);
}

async function exit() {
  await checkpointer.close();
  process.exit();
}

/** Straight to the file descriptor: what was said before a kill must have arrived. */
function say(/** @type {unknown[]} */ ...words) {
  writeSync(1, `${JSON.stringify(words)}\n`);
}
