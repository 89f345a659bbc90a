import type { Backend } from "./backend";
import { requireCapabilities } from "./capabilities";
import { DEFAULT_HOST } from "./chunk-pool";
import { type DigestAlgorithm, isDigestAlgorithm } from "./digest";
import { HoldfastError } from "./errors";
import { isSafeName } from "./paths";
import { isRetention, type RetentionPolicy } from "./retention";
import type { Save } from "./save-handle";
import type { Schedule } from "./schedule";
import type { ShardingPolicy } from "./sharding/policy";
import type { Ranks } from "./share";
import type { Sink } from "./sink";

export interface CheckpointerOptions<B extends Backend | readonly Backend[]> {
  /** One, or several: each leaf of a state goes to the first that accepts it. */
  readonly backend: B;
  readonly sink: Sink;
  readonly memory?: {
    /** The most host memory that chunks may take, in bytes: at least 4 KiB. Default 256 MiB. */
    readonly host?: number;
    /**
     * What device copies and retained tensors may take, in bytes; 0 makes every save blocking. Default
     * `"auto"`: as much as the device gives, and none where the device is the host's own memory.
     */
    readonly device?: number | "auto";
  };
  /**
   * Which checkpoints stay when a newer one was committed: those that any of these keeps, and always the newest
   * itself. The others are deleted once it was read back whole and found good. Default: all stay.
   */
  readonly retention?: readonly RetentionPolicy[];
  /** When `due` says that it is time to save: `everySteps(100)`, `everyMinutes(10)`, `overhead(0.01)`. */
  readonly schedule?: Schedule;
  /** While a save is being written, the next one waits in line, or is dropped with outcome `skipped`. Default `"wait"`. */
  readonly whenBusy?: "wait" | "skip";
  /** Milliseconds without any progress after which a save is given up. Default 300,000; `Infinity` for never. */
  readonly timeout?: number;
  /** How blocks are digested: `"xxh64"` for integrity at memory speed (default), `"sha256"` for identity. */
  readonly digest?: DigestAlgorithm;
  /** A group with more bytes than this is split over several files. Default 5,000,000,000, as Hugging Face's. */
  readonly maxShardBytes?: number;
  /**
   * Of several ranks: equal on all of them, and new at each launch: a job's id with the count of its restarts, as a job
   * that is queued again keeps its id. Letters, digits, `_`, `-` and `.`, at most 64. Ranks save at the same steps, each by a checkpointer of its own; rank 0 commits.
   */
  readonly runId?: string;
  /** Of several ranks: this one's number, from 0. */
  readonly rank?: number;
  /** How many ranks there are. Default 1. */
  readonly worldSize?: number;
  /** Of several ranks: how the state lies across them. */
  readonly sharding?: ShardingPolicy;
  /**
   * Of several ranks: milliseconds that one which has finished waits without another finishing. Then the save fails, and
   * names those that are missing. Default 600,000.
   */
  readonly deadline?: number;
  /** Called when a save fails. Without it, a failure whose `committed` nobody took is told by the next `staged`. */
  readonly onFailure?: (error: HoldfastError, save: Save) => void;
}

/** The options with their defaults, checked. `host` and `device` are bytes. */
export function resolveOptions(options: CheckpointerOptions<Backend | readonly Backend[]>) {
  const { backend, sink, memory = {}, whenBusy = "wait", timeout = 300_000 } = options;
  const { digest = "xxh64", maxShardBytes = 5_000_000_000, onFailure, retention = [], schedule } = options;
  const { host = DEFAULT_HOST, device = "auto" } = memory;
  const backends: readonly Backend[] = Array.isArray(backend) ? backend : [backend];
  for (const { name, protocol } of [...backends, sink]) {
    check(
      protocol === 1,
      `${name} speaks protocol ${protocol}; this @holdfast/core speaks 1: update one of them`,
    );
  }
  check(host !== Number.POSITIVE_INFINITY, `memory.host is ${host}; it has to be a number of bytes`);
  check(device === "auto" || device >= 0, `memory.device is ${device}; it has to be bytes ≥ 0 or "auto"`);
  check(whenBusy === "wait" || whenBusy === "skip", `whenBusy is ${whenBusy}; it has to be "wait" or "skip"`);
  check(timeout > 0, `timeout is ${timeout}; it has to be milliseconds > 0, or Infinity`);
  check(isDigestAlgorithm(digest), `digest is ${digest}; it has to be "xxh64" or "sha256"`);
  check(maxShardBytes > 0, `maxShardBytes is ${maxShardBytes}; it has to be > 0`);
  check(isRetention(retention), "retention has to be a list of policies: [keepLast(3)]");
  check(
    schedule === undefined || typeof schedule?.start === "function",
    "schedule has to be one, as everySteps(100) returns it",
  );
  if (retention.length > 0) requireCapabilities(sink, "retention", ["list", "read", "delete"]);
  const ranks = resolveRanks(options);
  const limits = { host, device: device === "auto" ? Number.POSITIVE_INFINITY : device };
  return {
    backends,
    sink,
    ...limits,
    retention,
    schedule,
    whenBusy,
    timeout,
    digest,
    maxShardBytes,
    onFailure,
    ranks,
  };
}

/** Undefined for one rank. */
function resolveRanks(options: CheckpointerOptions<Backend | readonly Backend[]>): Ranks | undefined {
  const { runId, rank = 0, worldSize = 1, sharding, deadline = 600_000 } = options;
  check(isCount(worldSize) && worldSize > 0, `worldSize is ${worldSize}; it has to be a whole number ≥ 1`);
  check(isCount(rank) && rank < worldSize, `rank is ${rank}, of ${worldSize} ranks; they count from 0`);
  if (worldSize === 1) return undefined;
  if (runId === undefined || sharding === undefined) {
    const missing =
      runId === undefined ? "runId, equal on all and new at each launch" : "sharding: replicated()";
    throw new HoldfastError("INVALID_ARGUMENT", `${worldSize} ranks need a ${missing}`);
  }
  check(
    isSafeName(runId) && runId.length <= 64,
    `runId is ${JSON.stringify(runId)}; it has to be part of a file's name`,
  );
  check(!/^step-\d/.test(runId), `runId is ${runId}; it may not begin as a checkpoint's id does`);
  check(deadline > 0, `deadline is ${deadline}; it has to be milliseconds > 0`);
  const { sink, whenBusy = "wait", schedule } = options;
  check(whenBusy === "wait", 'ranks would skip different saves: with several, whenBusy has to be "wait"');
  check(
    schedule === undefined || schedule.byStep,
    `${schedule?.name} goes by time, which differs between ranks: use everySteps`,
  );
  if (!sink.capabilities.ranks)
    throw new HoldfastError(
      "UNSUPPORTED",
      `${sink.name} takes one rank: use a sink that several can write to`,
    );
  return { runId, rank, worldSize, sharding, deadline };
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

function check(holds: boolean, rule: string): void {
  if (!holds) throw new HoldfastError("INVALID_ARGUMENT", rule);
}
