export type * from "./backend";
export type { PassedOver } from "./candidates";
export { type CheckpointId, formatId, newestFirst, parseId } from "./checkpoint-id";
export { AsyncCheckpointer, type CheckpointerOptions, type SaveRequest } from "./checkpointer";
export { MiB } from "./chunk-pool";
export { BlockDigests, type DigestAlgorithm, Digester, isDigestAlgorithm } from "./digest";
export { ERROR_CODES, type ErrorCode, HoldfastError, isHoldfastError, messageOf } from "./errors";
export { hostBackend } from "./host-backend";
export type { HostLeaf, HostTensor } from "./host-tensor";
export type { Json } from "./json";
export { memorySink } from "./memory-sink";
export { isSafeName, isSafePath } from "./paths";
export type { Found, Loaded, LoadOptions, RestoreOptions, Resumed } from "./restore";
export type { Committed, NotCommitted, Save, SaveProgress, SaveResult, SaveStage } from "./save-handle";
export type * from "./sink";
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
export type { TrainingState } from "./training-state";
