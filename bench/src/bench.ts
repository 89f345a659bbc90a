import { parseArgs } from "node:util";
import { messageOf, stopSignal } from "./command-line";
import { allGroups } from "./groups";
import { describeMachine } from "./machine";
import { GiB, type Row } from "./measure";
import { isMemory, preparePlace } from "./place";
import { Progress } from "./progress";
import { RESULTS, writeResults } from "./results";
import { runGroup, select } from "./runner";
import { jsonRow, terminalTable } from "./table";

const HELP = `Measures Holdfast against the machine's own limits, and against what people would use instead.

  npm run bench -- [options]

  --only NAME  measure only this row or group; can be given several times
  --quick      small sizes and few runs: whether it works, not how fast it is
  --dir DIR    where files are written (default: a temporary directory on a disk)
  --json       end standard output with one line of JSON; all else goes to standard error
  --help       this text

A whole run takes about 40 minutes and writes bench/RESULTS.md; one with --only or --quick leaves it as it is.
The exit code is 0 even if goals are missed, and 1 if something could not be measured because it failed.
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
      dir: { type: "string" },
      json: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const { quick, only } = values;
  const groups = select(allGroups({ quick }), only);
  const stop = stopSignal();
  const place = await preparePlace(values.dir, (quick ? 1 : 10) * GiB);
  const progress = new Progress();
  const rows: Row[] = [];
  try {
    if (await isMemory(place.dir)) {
      progress.skipped(
        "the disk",
        `${place.dir} is on ${place.fileSystem}, which is memory: name another --dir`,
      );
    }
    for (const group of groups) {
      rows.push(...(await runGroup(group, place.dir, progress, stop)));
    }
  } catch (error) {
    if (!stop.aborted) throw error;
    // Half an hour may have gone into the rows so far.
    process.stderr.write(`\n${messageOf(error)}; what the bench made is removed. So far:\n`);
    process.stderr.write(`${terminalTable(rows).join("\n")}\n`);
    return 130;
  } finally {
    await place.remove();
  }
  const out = values.json ? process.stderr : process.stdout;
  out.write(`\n${terminalTable(rows).join("\n")}\n`);
  if (!quick && only.length === 0) {
    const machine = describeMachine(place.fileSystem);
    await writeResults({ machine, groups, rows, skipped: progress.missed });
    out.write(`\nwritten to ${RESULTS}\n`);
  }
  if (values.json) process.stdout.write(`${JSON.stringify({ rows: rows.map(jsonRow) })}\n`);
  return progress.failures > 0 ? 1 : 0;
}
