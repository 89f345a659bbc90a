import { parseArgs } from "node:util";
import { parseCount, parsePercent, runCommand, stopSignal } from "./command-line";
import { listRoot } from "./disk";
import { showDisk } from "./disk-view";
import type { TrainingEvent } from "./events";
import { percent } from "./format";
import { type CheckpointOptions, retentionOf, scheduleOf } from "./keeping";
import { accuracy } from "./model";
import { ProgressView } from "./progress-view";
import { Screen } from "./screen";
import { train } from "./trainer";

const HELP = `Trains a network on MNIST with WebGPU, and saves checkpoints while training goes on.
Ctrl-C or SIGTERM saves and leaves; a second one leaves at once. The same command again goes on from there.

  npm run train -- [options]

  --steps N       train until step N                                   (default 500)
  --every K       save a checkpoint every K steps                      (default 50)
  --overhead P    save as often as costs P percent of the time at most (instead of --every)
  --keep N        keep the N newest checkpoints, and the one with the lowest loss
                  (default: keep all)
  --dir DIR       where checkpoints lie                                (default checkpoints)
  --help          this text
`;

await runCommand(async () => {
  const { values } = parseArgs({
    options: {
      steps: { type: "string", default: "500" },
      every: { type: "string" },
      overhead: { type: "string" },
      keep: { type: "string" },
      dir: { type: "string", default: "checkpoints" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const steps = parseCount("--steps", values.steps);
  const checkpoints = {
    directory: values.dir,
    when: parseWhen(values),
    keep: values.keep === undefined ? undefined : { last: parseCount("--keep", values.keep) },
  };
  const screen = new Screen(process.stderr);
  const view = new ProgressView(screen, steps);
  const stop = stopSignal();
  stop.addEventListener("abort", () =>
    screen.line("  stopping after this step; once more Ctrl-C leaves at once"),
  );

  const retention = retentionOf(checkpoints);
  const kept = retention.map(({ name }) => name).join(", ") || "everything";
  const show = (event: TrainingEvent) => {
    view.show(event);
    if (event.type === "started") screen.line(`  saves by ${scheduleOf(checkpoints).name}, keeps ${kept}`);
  };
  const { step, state, test } = await train({ steps, checkpoints }, show, stop);
  if (retention.length > 0) showDisk(await listRoot(values.dir, retention), screen);
  if (step < steps) {
    screen.line(`Stopped at step ${step} of ${steps}. The same command goes on from there.`);
    return 0;
  }
  const share = await accuracy(state.model, test);
  screen.line(`Step ${step}: ${percent(share)} of ${test.count} digits that it never saw are right.`);
  return 0;
});

function parseWhen({ every, overhead }: { every?: string; overhead?: string }): CheckpointOptions["when"] {
  if (overhead === undefined) return { every: parseCount("--every", every ?? "50") };
  if (every === undefined) return { overhead: parsePercent("--overhead", overhead) };
  throw new Error("--every and --overhead both say when to save; name one");
}
