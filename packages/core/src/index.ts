export type * from "./backend";
export { type CheckpointId, formatId, newestFirst, parseId } from "./checkpoint-id";
export { BlockDigests, type DigestAlgorithm, Digester, isDigestAlgorithm } from "./digest";
export { ERROR_CODES, type ErrorCode, HoldfastError, isHoldfastError } from "./errors";
export { isSafeName, isSafePath } from "./paths";
export type * from "./sink";
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
