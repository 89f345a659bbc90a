/** What the tests of such sinks need: real and faulty file operations, owners of locks, whole checkpoints. */
export { nodeFileOps } from "../node-file-ops";
export { describeOwner, livenessOf, type Owner } from "../owner";
export { RootSink } from "../sink";
export { faultSuite } from "./fault-suite";
export { FaultyFileOps, type Operation } from "./faulty-file-ops";
export { rankFaultSuite } from "./rank-fault-suite";
export {
  attemptAt,
  bytesOf,
  contentOf,
  exampleFiles,
  idsOf,
  Lender,
  MEMORY,
  namesIn,
  save,
  savedContent,
  smallFiles,
  temporaryDirectory,
  writeFiles,
} from "./save";
export { beginRanks, filesOfRank, rankAttempt, savedByRanks, saveRanks } from "./save-ranks";
export { system } from "./system";
