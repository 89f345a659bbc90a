import { parseArgs } from "node:util";
import { parseCount, runCommand, stopSignal } from "./command-line";
import { percent } from "./format";
import { accuracy } from "./model";
import { ProgressView } from "./progress-view";
import { Screen } from "./screen";
import { train } from "./trainer";

const HELP = `Trains a network on MNIST with WebGPU, and saves checkpoints while training goes on.
Ctrl-C saves and leaves; a second Ctrl-C leaves at once. The same command again goes on from there.

  npm run train -- [options]

  --steps N    train until step N                (default 500)
  --every K    save a checkpoint every K steps   (default 50)
  --dir DIR    where checkpoints lie             (default checkpoints)
  --help       this text
`;

await runCommand(async () => {
  const { values } = parseArgs({
    options: {
      steps: { type: "string", default: "500" },
      every: { type: "string", default: "50" },
      dir: { type: "string", default: "checkpoints" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  const steps = parseCount("--steps", values.steps);
  const every = parseCount("--every", values.every);
  const screen = new Screen(process.stderr);
  const view = new ProgressView(screen, steps);
  const stop = stopSignal();
  stop.addEventListener("abort", () =>
    screen.line("  stopping after this step; once more Ctrl-C leaves at once"),
  );

  const options = { steps, checkpoints: { directory: values.dir, every } };
  const { step, state, test } = await train(options, (event) => view.show(event), stop);
  if (step < steps) {
    screen.line(`Stopped at step ${step} of ${steps}. The same command goes on from there.`);
    return 0;
  }
  const share = await accuracy(state.model, test);
  screen.line(`Step ${step}: ${percent(share)} of ${test.count} digits that it never saw are right.`);
  return 0;
});
