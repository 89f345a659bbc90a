/** The program of the archive: see ../README.md. */
import { parseArgs } from "node:util";
import { messageOf, stopSignal } from "../../src/command-line";
import { isMemory, preparePlace } from "../../src/place";
import { runGroup } from "../../src/runner";
import { terminalTable } from "../../src/table";
import { chosenGroups } from "./groups";
import { describeGpu, describeHost, describePeers } from "./machine";
import { Notes } from "./notes";
import { Report } from "./report";
import { runWithin } from "./run";
import { parseSizes } from "./scale";

const HELP = `Measures Holdfast on this machine's GPU, against its limits and against what people use in Python.

  ./run [options]

  --only NAME      only this group (correctness, stall, transfers, durable, webgpu, peers, peers-4GB) or row;
                   can be given several times
  --quick          small sizes and few runs: whether it works, not how fast it is
  --sizes LIST     GB of the states that are saved beside the peers (default 1,4,16; with --quick 0.1)
  --dir DIR        where files are written (default: a temporary directory on a disk)
  --python PYTHON  what runs the peers (default python3)
  --minutes N      begins nothing new after so long, ends what takes two more, and says what that left out (default 7)
  --limit SECONDS  what takes longer hangs, and is ended (default 180)
  --out FILE       where the results are written (default RESULTS-gpu.md)
  --help           this text

The exit code is 0 even if goals are missed or a peer fails, and 1 if something of Holdfast's failed: wrong bytes above all.
`;

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
      limit: { type: "string", default: "180" },
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
  const [minutes, limit] = [positive("--minutes", values.minutes), positive("--limit", values.limit)];
  const groups = chosenGroups({ quick, sizes, python }, only);
  const gpu = describeGpu();
  const stop = stopSignal();
  const run = runWithin({ minutes, limitMs: limit * 1000, stop, freeDevice: gpu.freeBytes });
  const place = await preparePlace(values.dir);
  try {
    const machine = [...gpu.lines, ...describeHost(place.fileSystem), ...(await describePeers(python))];
    for (const [what, value] of machine) process.stderr.write(`${what}: ${value}\n`);
    const command = ["./run", ...process.argv.slice(2)].join(" ");
    const report = new Report(out, { command, machine, groups });
    const notes = new Notes(report);
    if (await isMemory(place.dir)) notes.skipped("the disk", `${place.dir} is memory: name another --dir`);
    try {
      for (const group of groups) await runGroup(group, place.dir, notes, stop, run);
    } catch (error) {
      if (!stop.aborted) throw error;
      process.stderr.write(`\n${messageOf(error)}; what the bench made is removed. So far:\n`);
      process.stderr.write(`${terminalTable(report.rows).join("\n")}\n`);
      return 130;
    }
    process.stdout.write(`\n${terminalTable(report.rows).join("\n")}\n\nwritten to ${out}\n`);
    return notes.failures > 0 ? 1 : 0;
  } finally {
    await place.remove();
  }
}

function positive(option: string, text: string): number {
  if (Number(text) > 0) return Number(text);
  throw new Error(`${option} ${text}: it has to be a number above 0`);
}
