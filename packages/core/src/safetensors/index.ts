/** The safetensors codec: strict headers, files planned ahead of their data, and sharded models. */
export {
  headerByteLength,
  readHeader,
  type SafetensorsHeader,
  type TensorEntry,
} from "./header";
export { type FileLayout, type Metadata, type PlacedTensor, planFile } from "./layout";
export {
  decodeIndex,
  encodeIndex,
  planShards,
  type Shard,
  type ShardIndex,
  type ShardOptions,
} from "./shards";
