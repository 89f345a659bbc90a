/** Does what the trainer's process asks for. */
import { join, resolve } from "node:path";
import {
  type AsyncCheckpointer,
  HoldfastError,
  inspectCheckpoint,
  type SaveRequest,
  type Sink,
} from "@holdfast/core";
import type { CopiedTensor } from "./copied";
import { type Answer, failed, type Request, type SaveOrder } from "./messages";
import { noStaging, openStaging, type Staging } from "./staging";

/** A copy that is under way when the trainer dies may never end. */
const GRACE_MS = 2_000;

interface Environment {
  readonly checkpointer: AsyncCheckpointer<CopiedTensor>;
  readonly sink: Sink;
  readonly root: string;
  readonly device: number;
  readonly answer: (answer: Answer) => void;
}

export class Sidecar {
  readonly #environment: Environment;
  /** Saves that read the staging memory. There is one at most: the trainer waits for `drained`. */
  readonly #draining = new Map<{ abort(): void }, Promise<void>>();
  #staging: Staging | undefined;

  constructor(environment: Environment) {
    this.#environment = environment;
  }

  /** Never rejects: what goes wrong is answered. */
  async take(request: Request): Promise<void> {
    const { answer } = this.#environment;
    try {
      answer({ request: request.request, type: "done", result: (await this.#do(request)) ?? null });
    } catch (error) {
      answer(failed(request.request, error));
    }
  }

  /** The trainer has nothing more to ask, or is dead: what is in our hands is committed, the rest given up. */
  async end(): Promise<void> {
    const { checkpointer } = this.#environment;
    const givenUp = [...this.#draining.keys()];
    for (const save of givenUp) save.abort();
    const closed = checkpointer.close();
    if (givenUp.length === 0) return closed;
    await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, GRACE_MS))]);
  }

  async #do(request: Request): Promise<unknown> {
    switch (request.type) {
      case "open":
        await this.#release();
        this.#staging = openStaging(request.handles, this.#environment.device);
        return undefined;
      case "release":
        return this.#release();
      case "save":
        return this.#save(request.request, request.save);
      case "latest":
        return this.#latest();
    }
  }

  async #save(request: number, order: SaveOrder): Promise<unknown> {
    const { checkpointer, answer } = this.#environment;
    if (!this.#staging) throw noStaging();
    if (this.#draining.size > 0) {
      const rule = "the save before is still being read: its copy would be taken for this one's";
      throw new HoldfastError("INVALID_ARGUMENT", rule);
    }
    const begun = performance.now();
    const save = checkpointer.save(saveRequest(order, this.#staging.stateOf(order)));
    const { committed } = save; // taken before it can fail, so that no other save tells of it
    committed.catch(() => {});
    // Why it was not staged is told by `committed` as well.
    const drained = save.staged.catch(() => {});
    this.#draining.set(save, drained);
    await drained;
    this.#draining.delete(save);
    answer({ request, type: "drained" });
    const { outcome, id, bytes, ...rest } = await committed;
    if (outcome !== "committed")
      throw new HoldfastError("CLOSED", `the save of step ${order.step} was given up`);
    const housekeeping = "housekeeping" in rest ? rest.housekeeping?.message : undefined;
    return { id, bytes, ms: performance.now() - begun, housekeeping };
  }

  /** The newest checkpoint of which every byte is good, and where its tensors are. */
  async #latest(): Promise<unknown> {
    const { checkpointer, sink, root } = this.#environment;
    const found = await checkpointer.latestGood();
    if (!found) return undefined;
    const { tensors } = await inspectCheckpoint(sink, { id: found.id });
    const passedOver = found.passedOver.map(({ id, reason }) => `${id}: ${reason.message}`);
    return { ...found, passedOver, directory: join(resolve(root), found.id), tensors };
  }

  /** Nobody reads the staging memory any more: the trainer may free it. */
  async #release(): Promise<void> {
    await Promise.all(this.#draining.values());
    this.#staging?.close();
    this.#staging = undefined;
  }
}

/** What is left out is left out for core too, which checks the rest. */
function saveRequest<S>({ step, metrics, training, extra }: SaveOrder, state: S): SaveRequest<S> {
  const others = { metrics, training, extra };
  const given = Object.entries(others).filter(([, value]) => value !== undefined && value !== null);
  return { step, state, ...Object.fromEntries(given) };
}
