export type * from "./backend";
export type { PassedOver, Selection } from "./candidates";
export { type CheckpointId, formatId, newestFirst, parseId } from "./checkpoint-id";
export { AsyncCheckpointer } from "./checkpointer";
export { MiB } from "./chunk-pool";
export { RECORD_FILE } from "./commit-record";
export { BlockDigests, type DigestAlgorithm, Digester, isDigestAlgorithm } from "./digest";
export { ERROR_CODES, type ErrorCode, HoldfastError, isHoldfastError, messageOf } from "./errors";
export { hostBackend } from "./host-backend";
export type { HostLeaf, HostTensor } from "./host-tensor";
export type { Json } from "./json";
export { MANIFEST_FILE } from "./manifest";
export type { MatchOptions } from "./match";
export { memorySink } from "./memory-sink";
export type { CheckpointerOptions } from "./options";
export { overhead } from "./overhead";
export { isSafeName, isSafePath } from "./paths";
export type { Found, Loaded, LoadOptions, RestoreOptions, Resumed } from "./restore";
export { type CheckpointSummary, keepBest, keepEvery, keepLast, type RetentionPolicy } from "./retention";
export type { Committed, NotCommitted, Save, SaveProgress, SaveResult, SaveStage } from "./save-handle";
export type { SaveNowRequest, SaveRequest } from "./save-request";
export { everyMinutes, everySteps, type Moment, type Schedule } from "./schedule";
export { type AxisPlacement, type AxisPlacements, type MeshOptions, mesh, shard } from "./sharding/mesh";
export {
  type ReplicatedOptions,
  replicated,
  type TensorParallelOptions,
  tensorParallel,
  type ZeroOptions,
  zeroPartitioned,
} from "./sharding/policies";
export type * from "./sharding/policy";
export type * from "./sink";
export { rankPrefix } from "./sink";
export type { StateOf } from "./state";
export {
  byteLength,
  DTYPE_BITS,
  DTYPES,
  type DType,
  elementCount,
  formatSpec,
  isDType,
  type TensorSpec,
} from "./tensor";
export { locationOf } from "./tensor-range";
export { convertCheckpoint } from "./tools/convert/convert";
export type { Converted } from "./tools/convert/converted";
export type { ConvertOptions } from "./tools/convert/options";
export type { RanksToWrite } from "./tools/convert/sharded";
export type { Destination } from "./tools/convert/target";
export {
  type CheckpointContents,
  type InspectedShard,
  type InspectedTensor,
  inspectCheckpoint,
} from "./tools/inspect";
export { type ListedCheckpoint, listCheckpoints } from "./tools/list";
export type { ReadingMemory } from "./tools/pool";
export type { Problem } from "./tools/problems";
export { type KeptCheckpoint, type Pruned, type PruneOptions, pruneCheckpoints } from "./tools/prune";
export { type Verification, type VerificationOptions, verifyCheckpoint } from "./tools/verify";
export type { Training, TrainingState } from "./training-state";
export type { ReadProgress } from "./verify";
