/** For tests: files and directories as other programs write them, byte by byte, so that they can be wrong. */
import { type Files, utf8 } from "./damage-kit";

/** A file as any program writes it: the header is spelled out, so that it can be wrong. */
export function safetensors(header: Readonly<Record<string, unknown>>, data: readonly number[]): Uint8Array {
  const json = utf8(JSON.stringify(header));
  const bytes = new Uint8Array(8 + json.byteLength + data.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.byteLength), true);
  bytes.set(json, 8);
  bytes.set(data, 8 + json.byteLength);
  return bytes;
}

/** A file of U8 tensors. */
export function bytesFile(tensors: Readonly<Record<string, readonly number[]>>): Uint8Array {
  let at = 0;
  const entries = Object.entries(tensors).map(([name, bytes]) => {
    at += bytes.length;
    return [name, { dtype: "U8", shape: [bytes.length], data_offsets: [at - bytes.length, at] }];
  });
  return safetensors(Object.fromEntries(entries), Object.values(tensors).flat());
}

export function index(weightMap: Readonly<Record<string, unknown>>): Uint8Array {
  return utf8(JSON.stringify({ metadata: { total_size: 6 }, weight_map: weightMap }));
}

/** Two shards and their index, of which `changes` replaces or removes some files. */
export function sharded(changes: Readonly<Record<string, Uint8Array | undefined>> = {}): Files {
  const one = "model-00001-of-00002.safetensors";
  const two = "model-00002-of-00002.safetensors";
  const files: Record<string, Uint8Array | undefined> = {
    [one]: bytesFile({ "layer.0": [1, 2], "layer.1": [3] }),
    [two]: bytesFile({ "layer.2": [4, 5, 6] }),
    "model.safetensors.index.json": index({ "layer.0": one, "layer.1": one, "layer.2": two }),
    ...changes,
  };
  return new Map(Object.entries(files).flatMap(([path, bytes]) => (bytes ? [[path, bytes]] : [])));
}

export function directory(files: Readonly<Record<string, Uint8Array>>): Files {
  return new Map(Object.entries(files));
}
