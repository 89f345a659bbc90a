/** The program of the archive: see ../README.md. */
import { writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { messageOf, stopSignal } from "../../src/command-line";
import type { Contestant, Row } from "../../src/measure";
import { isMemory, preparePlace } from "../../src/place";
import { type Answer, runChild } from "../../src/run-child";
import { runGroup } from "../../src/runner";
import { terminalTable } from "../../src/table";
import { chosenGroups } from "./groups";
import { describeGpu, describeHost, describePeers } from "./machine";
import { Notes } from "./notes";
import { reportText } from "./report";
import { parseSizes } from "./scale";

const HELP = `Measures Holdfast on this machine's GPU, against its limits and against what people use in Python.

  ./run [options]

  --only NAME      only this group (correctness, stall, transfers, durable, webgpu, peers, peers-4GB) or row;
                   can be given several times
  --quick          small sizes and few runs: whether it works, not how fast it is
  --sizes LIST     GB of the states that are saved beside the peers (default 1,4,16; with --quick 0.1)
  --dir DIR        where files are written (default: a temporary directory on a disk)
  --python PYTHON  what runs the peers (default python3)
  --minutes N      begins nothing new after so long, and says what that left out (default 7)
  --out FILE       where the results are written (default RESULTS-gpu.md)
  --help           this text

The exit code is 0 even if goals are missed, and 1 if something of Holdfast's failed: wrong bytes above all.
`;

/** A contestant that takes longer hangs. */
const CONTESTANT_MS = 3 * 60_000;

process.exitCode = await main().catch((error: unknown) => {
  process.stderr.write(`error: ${messageOf(error)}\n`);
  return 1;
});

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      only: { type: "string", multiple: true, default: [] },
      quick: { type: "boolean", default: false },
      sizes: { type: "string" },
      dir: { type: "string" },
      python: { type: "string", default: "python3" },
      minutes: { type: "string", default: "7" },
      out: { type: "string", default: "RESULTS-gpu.md" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const { quick, only, python, out } = values;
  const sizes = parseSizes(values.sizes ?? (quick ? "0.1" : "1,4,16"));
  const minutes = Number(values.minutes);
  if (!(minutes > 0)) throw new Error(`--minutes ${values.minutes}: it has to be a number of minutes`);
  const endsAt = performance.now() + minutes * 60_000;
  const groups = chosenGroups({ quick, sizes, python }, only);
  const gpu = describeGpu();
  const bytes = Math.max(...sizes) * 1e9;
  const stop = stopSignal();
  // The last checkpoint may still be there when the next one is written.
  const place = await preparePlace(values.dir, 2.5 * bytes);
  const notes = new Notes();
  const rows: Row[] = [];
  try {
    const machine = [...gpu.lines, ...describeHost(place.fileSystem), ...(await describePeers(python))];
    for (const [what, value] of machine) process.stderr.write(`${what}: ${value}\n`);
    // The state, its copy, and as much again for what it is compared with.
    if (gpu.freeBytes < 3.2 * bytes)
      notes.skipped("device memory", `too little of it is free for ${bytes / 1e9} GB`);
    if (await isMemory(place.dir)) notes.skipped("the disk", `${place.dir} is memory: name another --dir`);
    const run = async (contestant: Contestant, dir: string): Promise<Answer> => {
      if (performance.now() < endsAt) return runChild(contestant, dir, stop, CONTESTANT_MS);
      return { skip: `the ${minutes} minutes of this run were over: run it with --only` };
    };
    const command = ["./run", ...process.argv.slice(2)].join(" ");
    for (const group of groups) {
      rows.push(...notes.withMissing(group, await runGroup(group, place.dir, notes, stop, run)));
      // After each group: whoever lends the machine may end the run.
      await writeFile(out, reportText({ command, machine, groups, rows }));
    }
  } catch (error) {
    if (!stop.aborted) throw error;
    process.stderr.write(`\n${messageOf(error)}; what the bench made is removed. So far:\n`);
    process.stderr.write(`${terminalTable(rows).join("\n")}\n`);
    return 130;
  } finally {
    await place.remove();
  }
  process.stdout.write(`\n${terminalTable(rows).join("\n")}\n\nwritten to ${out}\n`);
  return notes.failures > 0 ? 1 : 0;
}
