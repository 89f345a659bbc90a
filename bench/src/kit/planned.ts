/** What one of several ranks does for a save but to write: through a backend and a sink that hold nothing. */
import {
  AsyncCheckpointer,
  type Backend,
  replicated,
  type Sink,
  type SinkCapabilities,
  type Snapshot,
  type TensorSpec,
} from "@holdfast/core";
import { MiB } from "../measure";

/** A tensor of which there is no more than what it would be. */
export class Described {
  constructor(readonly spec: TensorSpec) {}
}

export type DescribedState = Readonly<Record<string, Readonly<Record<string, Described>>>>;

export interface Plan {
  /** Of all its files but the manifest. */
  readonly bytes: number;
  /** From the call of `save` until its manifest is there. */
  readonly ms: number;
}

/** Of the first save of a rank of `worldSize`, each of which holds all of `state`. */
export async function planOf(state: DescribedState, rank: number, worldSize: number): Promise<Plan> {
  let startedAt = 0;
  let tell: (plan: Plan) => void = () => {};
  const told = new Promise<Plan>((resolve) => {
    tell = resolve;
  });
  const checkpointer = await AsyncCheckpointer.open({
    backend: BACKEND,
    sink: sinkThatForgets((bytes) => tell({ bytes, ms: performance.now() - startedAt })),
    runId: "plan",
    rank,
    worldSize,
    sharding: replicated(),
    memory: { host: MiB },
    onFailure: () => {}, // it ends there
  });
  startedAt = performance.now();
  checkpointer.save({ step: 1, state });
  const plan = await told;
  await checkpointer.close();
  return plan;
}

const SNAPSHOT: Snapshot = {
  mode: "retained",
  staged: Promise.resolve(),
  read: async () => {},
  close: () => {},
};

const BACKEND: Backend<Described> = {
  name: "described",
  protocol: 1,
  accepts: (value): value is Described => value instanceof Described,
  describe: ({ spec }) => spec,
  snapshot: () => SNAPSHOT,
  restore: () => refuse(),
};

const CAPABILITIES: SinkCapabilities = {
  read: false,
  list: false,
  delete: false,
  ranks: true,
  sharedMemory: false,
  gathers: false,
  digests: [],
};

/** Calls `finished` when a rank has, with how much it said that it would write. */
function sinkThatForgets(finished: (bytes: number) => void): Sink {
  return {
    name: "plan",
    protocol: 1,
    capabilities: CAPABILITIES,
    async begin(_attempt, _rank, options) {
      return {
        async write({ path, byteLength }, chunks) {
          for await (const chunk of chunks) chunk.release();
          return { path, byteLength };
        },
        finish() {
          finished(options?.byteLength ?? Number.NaN);
          return refuse();
        },
        fail: async () => {},
        abort: async () => {},
      };
    },
    status: async () => ({ finished: [], failed: [], committed: false }),
    manifest: refuse,
    fail: refuse,
    commit: refuse,
    open: refuse,
    list: refuse,
    delete: refuse,
    sweep: refuse,
    close: async () => {},
  };
}

async function refuse(): Promise<never> {
  throw new Error("nothing is kept here");
}
