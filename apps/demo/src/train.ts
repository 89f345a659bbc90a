import { parseArgs } from "node:util";
import { parseCount, parsePercent, runCommand, stopSignal } from "./command-line";
import { listRoot } from "./disk";
import { showDisk } from "./disk-view";
import type { TrainingEvent } from "./events";
import { percent } from "./format";
import { type CheckpointOptions, retentionOf, scheduleOf } from "./keeping";
import { LANES } from "./lanes";
import { TEST_COUNT } from "./mnist";
import { accuracy } from "./model";
import { ProgressView } from "./progress-view";
import { trainByRanks } from "./ranks";
import { sameState, showRanks } from "./ranks-view";
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
  --ranks N       train in N processes, 1 to ${LANES}, which save one checkpoint together;
                  any other N goes on from it, and comes to the same bits
  --kill-rank R   of those, send SIGKILL to R (from 0) when the second checkpoint is due
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
      ranks: { type: "string" },
      "kill-rank": { type: "string" },
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
  const ranks = parseRanks(values);
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
  const alone = async () => {
    const { step, state, test } = await train({ steps, checkpoints }, show, stop);
    return { step, share: step < steps ? undefined : await accuracy(state.model, test) };
  };
  const together = async (options: NonNullable<typeof ranks>) => {
    const trained = await trainByRanks({ steps, checkpoints, ...options }, showRanks(screen, show), stop);
    screen.line(sameState(trained));
    return { step: trained.step, share: trained.accuracy };
  };
  const { step, share } = ranks ? await together(ranks) : await alone();
  if (retention.length > 0) showDisk(await listRoot(values.dir, retention), screen);
  if (share === undefined)
    screen.line(`Stopped at step ${step} of ${steps}. The same command goes on from there.`);
  else screen.line(`Step ${step}: ${percent(share)} of ${TEST_COUNT} digits that it never saw are right.`);
  return 0;
});

function parseWhen({ every, overhead }: { every?: string; overhead?: string }): CheckpointOptions["when"] {
  if (overhead === undefined) return { every: parseCount("--every", every ?? "50") };
  if (every === undefined) return { overhead: parsePercent("--overhead", overhead) };
  throw new Error("--every and --overhead both say when to save; name one");
}

/** Undefined for a training in this process. */
function parseRanks(values: { ranks?: string; "kill-rank"?: string; overhead?: string }) {
  const { ranks: count, "kill-rank": kill, overhead } = values;
  if (count === undefined) {
    if (kill === undefined) return undefined;
    throw new Error("--kill-rank needs --ranks");
  }
  const ranks = parseCount("--ranks", count);
  if (ranks > LANES) throw new Error(`--ranks is ${ranks}; a batch can be shared by ${LANES} at most`);
  if (overhead !== undefined)
    throw new Error("--overhead goes by time, which differs between ranks; use --every");
  if (kill === undefined) return { ranks };
  const killRank = Number(kill);
  if (Number.isInteger(killRank) && killRank >= 0 && killRank < ranks) return { ranks, killRank };
  throw new Error(`--kill-rank is ${JSON.stringify(kill)}; the ranks are 0 to ${ranks - 1}`);
}
