/**
 * `training_state.json`: boostr's keys, and ours beside them, which boostr ignores. Source: boostr 0.2's
 * `TrainingState`, version 2: `step` is required, the rest has defaults, and a learning rate that is not
 * finite cannot be read back.
 */
import { HoldfastError } from "./errors";
import { Fields } from "./fields";
import { encodeJson, encodeUtf8, type Json } from "./json";

export const TRAINING_STATE_FILE = "training_state.json";
const VERSION = 2;

/** Where the training stands, in boostr's words. */
export interface TrainingState {
  /** Default 0. */
  readonly epoch?: number;
  /** Finite; default 0. */
  readonly learningRate?: number;
  /** Default `{}`. */
  readonly metadata?: Readonly<Record<string, string>>;
}

/** What lies beside the tensors. */
export interface Training {
  readonly step: number;
  readonly training: Required<TrainingState>;
  readonly metrics: Readonly<Record<string, number>>;
  /** Whatever was passed to `save`; undefined if nothing was. */
  readonly extra: Json | undefined;
}

/** A training state as it was read. */
export interface StoredTraining extends Training {
  /** Whatever this rank alone has passed to `save`; undefined if nothing was. */
  readonly rankExtra: Json | undefined;
  /** What each of several ranks has passed, where their checkpoint was converted to one of fewer. */
  readonly rankExtras: readonly (Json | undefined)[] | undefined;
  /** All of its file; undefined if there is none. */
  readonly trainingBytes: Uint8Array | undefined;
}

export interface TrainingInput {
  readonly step: number;
  readonly training?: TrainingState | undefined;
  readonly metrics?: Readonly<Record<string, number>> | undefined;
  readonly extra?: unknown;
  readonly rankExtra?: unknown;
  readonly rankExtras?: readonly unknown[] | undefined;
}

/** With boostr's keys alone. @throws HoldfastError `NOT_JSON`, `INVALID_ARGUMENT` */
export function encodeBoostrTraining({
  step,
  training,
}: Pick<TrainingInput, "step" | "training">): Uint8Array {
  return encodeFields(boostrFields(step, training));
}

/** @throws HoldfastError `NOT_JSON`, `INVALID_ARGUMENT` */
export function encodeTraining({
  step,
  training,
  metrics = {},
  extra,
  rankExtra,
  rankExtras,
}: TrainingInput): Uint8Array {
  // encodeJson refuses what is not finite; this says in addition what type is meant.
  for (const [name, value] of Object.entries(metrics)) {
    if (typeof value !== "number") throw invalid(`metrics.${name} is not a number`);
  }
  const fields = [...boostrFields(step, training), `"metrics": ${encodeJson(metrics, "metrics")}`];
  if (extra !== undefined) fields.push(`"extra": ${encodeJson(extra, "extra")}`);
  if (rankExtra !== undefined) fields.push(`"rank_extra": ${encodeJson(rankExtra, "rankExtra")}`);
  // JSON has no undefined: a list in a list has room for nothing.
  const listed = rankExtras?.map((one) => (one === undefined ? [] : [one]));
  if (listed) fields.push(`"rank_extras": ${encodeJson(listed, "rankExtras")}`);
  return encodeFields(fields);
}

function boostrFields(step: number, training: TrainingState = {}): readonly string[] {
  const { epoch = 0, learningRate = 0, metadata = {} } = training;
  if (!Number.isSafeInteger(epoch) || epoch < 0)
    throw invalid(`training.epoch is ${epoch}, not a whole number ≥ 0`);
  for (const [key, value] of Object.entries(metadata)) {
    if (typeof value !== "string")
      throw invalid(`training.metadata.${key} is not a string; use extra for other values`);
  }
  return [
    `"version": ${VERSION}`,
    `"step": ${step}`,
    `"epoch": ${epoch}`,
    `"learning_rate": ${encodeJson(learningRate, "training.learningRate")}`,
    `"metadata": ${encodeJson(metadata, "training.metadata")}`,
  ];
}

function encodeFields(fields: readonly string[]): Uint8Array {
  return encodeUtf8(`{\n${fields.map((field) => `  ${field}`).join(",\n")}\n}\n`);
}

/** @throws HoldfastError `CHECKPOINT_CORRUPT`, `SCHEMA_TOO_NEW` */
export function decodeTraining(bytes: Uint8Array, file: string): Omit<StoredTraining, "trainingBytes"> {
  const fields = Fields.parse(bytes, file);
  const version = fields.get("version") === undefined ? 1 : fields.count("version");
  if (version > VERSION) {
    throw new HoldfastError(
      "SCHEMA_TOO_NEW",
      `${file} has version ${version}; this one reads up to ${VERSION}: update @holdfast/core`,
    );
  }
  // boostr writes a rate of NaN as null, and cannot read it back; to take it for 0 would be to make it up.
  const rate = fields.get("learning_rate");
  const learningRate = rate === undefined ? 0 : rate;
  if (!isFiniteNumber(learningRate)) throw fields.fail("learning_rate", "is not a finite number");
  return {
    step: fields.count("step"),
    training: {
      epoch: fields.get("epoch") === undefined ? 0 : fields.count("epoch"),
      learningRate,
      metadata: record(fields, "metadata", (value) => typeof value === "string"),
    },
    metrics: record(fields, "metrics", isFiniteNumber),
    // JSON.parse made it, so it is JSON.
    extra: fields.get("extra") as Json | undefined,
    rankExtra: fields.get("rank_extra") as Json | undefined,
    rankExtras: decodeRankExtras(fields),
  };
}

function decodeRankExtras(fields: Fields): readonly (Json | undefined)[] | undefined {
  if (fields.get("rank_extras") === undefined) return undefined;
  return fields.list("rank_extras").map((one) => {
    if (Array.isArray(one) && one.length < 2) return one[0] as Json | undefined;
    throw fields.fail("rank_extras", "is not a list of lists of at most one");
  });
}

/** What a directory says that has no training state (Hugging Face's): step 0, and the defaults. */
export const NO_TRAINING: StoredTraining = {
  step: 0,
  training: { epoch: 0, learningRate: 0, metadata: {} },
  metrics: {},
  extra: undefined,
  rankExtra: undefined,
  rankExtras: undefined,
  trainingBytes: undefined,
};

/** JSON has numbers that are too large for a double: nothing that was read could be written again as it is. */
export function isFiniteNumber(value: unknown): value is number {
  return Number.isFinite(value);
}

function record<V>(
  fields: Fields,
  key: string,
  is: (value: unknown) => boolean,
): Readonly<Record<string, V>> {
  if (fields.get(key) === undefined) return {};
  const entries = fields.object(key).entries();
  for (const [name, value] of entries)
    if (!is(value)) throw fields.fail(`${key}.${name}`, "is of the wrong type");
  return Object.fromEntries(entries) as Record<string, V>;
}

function invalid(rule: string): HoldfastError {
  return new HoldfastError("INVALID_ARGUMENT", rule);
}
