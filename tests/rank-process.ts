/** A rank as a process of its own (`children/rank.mjs`), from the side of whoever gives it orders. */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import type { Place } from "./children/rank-state.mjs";

const PROGRAM = fileURLToPath(new URL("./children/rank.mjs", import.meta.url));

export interface RankOptions extends Place {
  readonly root: string;
  readonly kind: "directories" | "archives";
  readonly runId: string;
  readonly deadline: number;
  /** How many checkpoints stay. Default: all. */
  readonly keep?: number;
}

/** What a rank says: a word, and what belongs to it. */
export type Said = readonly [word: string, ...more: unknown[]];

const living = new Set<RankProcess>();

export class RankProcess {
  /** All that it has said so far. */
  readonly said: Said[] = [];
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #ended: Promise<unknown>;
  #over = false;
  #heard = 0;
  #errors = "";
  #news = () => {};

  private constructor(readonly options: RankOptions) {
    this.#child = spawn(process.execPath, [PROGRAM, JSON.stringify(options)], {
      stdio: ["pipe", "pipe", "pipe"],
    });
    this.#child.stdin.on("error", () => {}); // an order to one that has just died
    this.#child.stderr.on("data", (data) => {
      this.#errors += data;
    });
    createInterface(this.#child.stdout).on("line", (line) => {
      // What a kill has cut off was not said.
      if (line.endsWith("]")) this.said.push(JSON.parse(line));
      this.#news();
    });
    this.#ended = once(this.#child, "close").then(() => {
      this.#over = true;
      living.delete(this);
      this.#news();
    });
    living.add(this);
  }

  /** Starts one, and waits until it takes orders. */
  static async start(options: RankOptions): Promise<RankProcess> {
    const rank = new RankProcess(options);
    await rank.hears("ready");
    return rank;
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** What it has complained of. */
  get errors(): string {
    return this.#errors;
  }

  order(line: string): void {
    this.#child.stdin.write(`${line}\n`);
  }

  /**
   * Waits for the next thing that it says of these, and passes over what it says before.
   * @throws Error if it ends before
   */
  async hears(...words: readonly string[]): Promise<Said> {
    for (;;) {
      const said = this.said[this.#heard];
      if (said) {
        this.#heard++;
        if (words.includes(said[0])) return said;
      } else if (this.#over) {
        const heard = this.said.map((one) => JSON.stringify(one)).join(" ");
        throw new Error(
          `rank ${this.options.rank} ended, and never said ${words}: ${heard}\n${this.#errors}`,
        );
      } else {
        await new Promise<void>((resolve) => {
          this.#news = resolve;
        });
      }
    }
  }

  /** Has it halt at a point of `halting-sink.mjs`, and waits until it is there. */
  async haltsAt(point: string, order: string): Promise<void> {
    this.order(`stop ${point}`);
    this.order(order);
    await this.hears("at");
  }

  /** Stops it where it is, without its taking notice. */
  freeze(): void {
    this.#child.kill("SIGSTOP");
  }

  thaw(): void {
    this.#child.kill("SIGCONT");
  }

  /** Kills it, and waits until it is gone, and all that it said has arrived. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#ended;
  }

  async exit(): Promise<void> {
    this.order("exit");
    await this.#ended;
  }
}

/** Whatever a test has left running. */
export async function killAll(): Promise<void> {
  await Promise.all([...living].map((rank) => rank.kill()));
}
