import { differences, type Tensors, totalBytes } from "./compare";
import { listRoot, readNewest } from "./disk";
import { showDisk } from "./disk-view";
import { bytes, duration, percent } from "./format";
import { type CheckpointOptions, retentionOf } from "./keeping";
import { chooseKillStep, killDuringSave } from "./kill";
import { ProgressView } from "./progress-view";
import { Recording } from "./recording";
import type { Screen } from "./screen";
import { type Outcome, startTraining, type TrainingProcess } from "./training-process";

export interface StoryOptions {
  readonly steps: number;
  /** At most a third of the steps, so that there is a middle to be killed in. */
  readonly every: number;
  /** An empty directory. */
  readonly directory: string;
}

/** What came out. */
export interface Story {
  /** Whether every bit of the weights and moments is that of the uninterrupted run, in memory and on disk. */
  readonly identical: boolean;
  readonly accuracy: number;
  readonly uninterrupted: Recording;
  readonly killed: Recording;
  readonly resumed: Recording;
  /** The checkpoints that are there in the end, by id, and the rules that keep them. */
  readonly kept: ReadonlyMap<string, readonly string[]>;
}

/** Plays the whole story on the screen. Aborting `signal` kills what runs, and rejects. */
export async function playStory(options: StoryOptions, screen: Screen, signal: AbortSignal): Promise<Story> {
  const acts = new Acts(options, screen, signal);
  const reference = await acts.trainUninterrupted();
  await acts.trainUntilKilled();
  await acts.showDisk();
  const { accuracy, tensors } = await acts.goOn();
  const identical = await acts.compare(reference.tensors, tensors);
  const kept = await acts.kept();
  const { uninterrupted, killed, resumed } = acts;
  return { identical, accuracy, uninterrupted, killed, resumed, kept };
}

class Acts {
  readonly uninterrupted = new Recording();
  readonly killed = new Recording();
  readonly resumed = new Recording();
  readonly #checkpoints: CheckpointOptions;

  constructor(
    private readonly options: StoryOptions,
    private readonly screen: Screen,
    private readonly signal: AbortSignal,
  ) {
    const { directory, every } = options;
    this.#checkpoints = { directory, when: { every }, keep: { last: 2, every: 4 * every } };
  }

  async trainUninterrupted(): Promise<Outcome> {
    this.screen.heading(
      "1. Train without interruption",
      "Without checkpoints: it shows what the weights have to be in the end, and how fast training is alone.",
    );
    return this.#toTheEnd(this.#start(this.uninterrupted, { saving: false }));
  }

  async trainUntilKilled(): Promise<void> {
    this.screen.heading(
      "2. Train again with checkpoints, and be killed",
      `Every ${this.options.every} steps a checkpoint is written while training goes on. Amid one of them comes SIGKILL.`,
    );
    const victim = this.#start(this.killed, { saving: true });
    const { step, moment } = await killDuringSave(victim, chooseKillStep(this.options), this.killed);
    const verdict = this.screen.style("red", "✗ SIGKILL");
    const when = `${duration(moment)} into the save of step ${step}`;
    this.screen.line(`  ${verdict} after step ${this.killed.lastStep}, ${when}`);
  }

  async showDisk(): Promise<void> {
    const { screen } = this;
    screen.heading(
      "3. What lies on the disk",
      "What was committed is whole, and stays as long as a rule keeps it. What was not is no checkpoint.",
    );
    showDisk(await this.#disk(), screen);
  }

  async goOn(): Promise<Outcome> {
    this.screen.heading(
      "4. Run it once more",
      "A new process finds the newest good checkpoint, and trains to the end from there.",
    );
    return this.#toTheEnd(this.#start(this.resumed, { saving: true }));
  }

  /** Whether all is equal to `expected`, bit for bit. */
  async compare(expected: Tensors, resumed: Tensors): Promise<boolean> {
    this.screen.heading(
      "5. Compare",
      "Weights and optimizer state, bit for bit, with those of the run that was never interrupted.",
    );
    const newest = await readNewest(this.options.directory);
    const inMemory = this.#show("in the resumed process", expected, resumed);
    const onDisk = this.#show(`in ${newest?.id}, read back`, expected, newest?.tensors ?? new Map());
    return inMemory && onDisk;
  }

  /** What is there in the end. */
  async kept(): Promise<Story["kept"]> {
    const committed = (await this.#disk()).filter((entry) => entry.committed);
    return new Map(committed.map(({ name, keptBy }) => [name, keptBy]));
  }

  #disk() {
    return listRoot(this.options.directory, retentionOf(this.#checkpoints));
  }

  #show(where: string, expected: Tensors, actual: Tensors): boolean {
    const differing = differences(expected, actual);
    const size = `${expected.size} tensors, ${bytes(totalBytes(expected))}`;
    const verdict =
      differing.length === 0
        ? `${this.screen.style("green", "✓ identical")}  ${where}: ${size}`
        : `${this.screen.style("red", "✗ different")}  ${where}: ${differing.join(", ")}`;
    this.screen.line(`  ${verdict}`);
    return differing.length === 0;
  }

  async #toTheEnd(training: TrainingProcess): Promise<Outcome> {
    const outcome = await training.ended;
    if (!outcome) throw new Error("the training process was killed, and not by this demo: is memory short?");
    this.screen.line(`  ${percent(outcome.accuracy)} of the test digits are right`);
    return outcome;
  }

  #start(recording: Recording, { saving }: { saving: boolean }): TrainingProcess {
    const { steps } = this.options;
    const view = new ProgressView(this.screen, steps);
    const checkpoints = saving ? this.#checkpoints : undefined;
    const training = startTraining({ steps, checkpoints }, this.signal);
    training.on((event) => {
      recording.add(event);
      view.show(event);
    });
    return training;
  }
}
