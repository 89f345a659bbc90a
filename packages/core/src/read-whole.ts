import { corrupt } from "./fields";
import { rejectOnAbort } from "./signals";
import type { CheckpointReader } from "./sink";

/** All bytes of a small file. @throws HoldfastError `CHECKPOINT_CORRUPT` if it is absent or larger than `limit` */
export async function readWhole(
  reader: CheckpointReader,
  path: string,
  limit: number,
  signal?: AbortSignal,
): Promise<Uint8Array> {
  const file = reader.files.get(path);
  if (!file) throw corrupt(`${reader.id}/${path}`, "is missing");
  if (file.byteLength > limit)
    throw corrupt(`${reader.id}/${path}`, `has ${file.byteLength} bytes, more than it can have`);
  const bytes = new Uint8Array(file.byteLength);
  await rejectOnAbort(reader.read(path, 0, bytes, { signal }), signal);
  return bytes;
}
