import { mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { parseCount, runCommand, stopSignal } from "./command-line";
import { Screen } from "./screen";
import { playStory } from "./story";
import { summarize } from "./summary";

const HELP = `Trains a network on MNIST with WebGPU, twice: without interruption, and with checkpoints, killed in
the middle and resumed. Then it compares the two, bit for bit.

  npm run demo -- [options]

  --steps N    steps of training                          (default 500)
  --every K    save a checkpoint every K steps            (default 50; at most a third of the steps)
  --dir DIR    where checkpoints lie, a directory that is empty or new, and stays
               (default: a temporary one, removed at the end)
  --keep       keep the temporary directory
  --json       print one JSON object on standard output, and the story on standard error
  --help       this text

The exit code is 1 if the weights differ.
`;

await runCommand(async () => {
  const { values } = parseArgs({
    options: {
      steps: { type: "string", default: "500" },
      every: { type: "string", default: "50" },
      dir: { type: "string" },
      keep: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const steps = parseCount("--steps", values.steps);
  const every = parseCount("--every", values.every);
  if (3 * every > steps) {
    throw new Error(
      `--every ${every} is more than a third of --steps ${steps}: there is no middle to be killed in`,
    );
  }
  const screen = new Screen(values.json ? process.stderr : process.stdout);
  const stop = stopSignal();
  const startedAt = performance.now();
  const { directory, remove } = await prepareDirectory(values.dir);
  let keep = values.keep || values.dir !== undefined;
  try {
    const story = await playStory({ steps, every, directory }, screen, stop);
    const summary = summarize(story, (performance.now() - startedAt) / 1000, screen);
    if (keep) screen.line(`\nThe checkpoints are in ${directory}`);
    if (values.json) process.stdout.write(`${JSON.stringify(summary)}\n`);
    return summary.identical ? 0 : 1;
  } catch (error) {
    if (!stop.aborted) throw error;
    keep = false;
    screen.line("stopped; what the demo made is removed");
    return 130;
  } finally {
    if (!keep) await remove();
  }
});

/** The directory to work in, and how to undo what is made there. */
async function prepareDirectory(
  given: string | undefined,
): Promise<{ directory: string; remove: () => Promise<void> }> {
  if (given === undefined) {
    const directory = await mkdtemp(join(tmpdir(), "holdfast-demo-"));
    return { directory, remove: () => rm(directory, { recursive: true, force: true }) };
  }
  const created = await mkdir(given, { recursive: true });
  if ((await readdir(given)).length > 0)
    throw new Error(`--dir ${given} is not empty; name one that is, or a new one`);
  const remove = async () => {
    for (const name of created ? [] : await readdir(given)) await rm(join(given, name), { recursive: true });
    if (created) await rm(created, { recursive: true });
  };
  return { directory: given, remove };
}
