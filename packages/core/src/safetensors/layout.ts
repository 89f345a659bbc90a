/** Plans a safetensors file out of names, dtypes and shapes alone, so that its data can be streamed. */
import { HoldfastError, messageOf } from "../errors";
import { JsonItems } from "../json-items";
import { byteLength, DTYPES, type DType, type TensorSpec } from "../tensor";
import { LENGTH_BYTES, MAX_HEADER_BYTES, type TensorEntry } from "./header";
import { isTensorName, isWellFormed, METADATA_KEY, quoted, sortByName } from "./names";

/** What `readHeader` returns as `metadata`, or a plain object. */
export type Metadata = ReadonlyMap<string, string> | Readonly<Record<string, string>>;

/** A tensor in a file: `[start, end)` in bytes from the start of the file. */
export interface PlacedTensor extends TensorEntry {
  readonly name: string;
}

/** A file: `header`, then the bytes of `tensors` one after another, little-endian, in C order. */
export interface FileLayout {
  /** The file's first bytes, up to the first tensor; a multiple of 8. */
  readonly header: Uint8Array;
  /** Of the whole file. */
  readonly byteLength: number;
  readonly tensors: readonly PlacedTensor[];
}

const RANK = new Map<DType, number>(DTYPES.map((dtype, rank) => [dtype, rank]));

/**
 * Lays a file out as the reference implementation (the `safetensors` crate) does, byte for byte: the
 * widest dtypes first, then by name in the order of UTF-8; the header padded with spaces to 8 bytes.
 * Metadata is sorted by key, which the reference leaves to chance; where it is empty, the file has none.
 *
 * @throws HoldfastError `INVALID_STATE` for a name that the format cannot hold: `__metadata__`, or one
 *   with a lone surrogate. `INVALID_ARGUMENT` for an invalid dtype, shape or metadata, more than 2^53 − 1
 *   bytes, or a header over 100,000,000 bytes.
 */
export function planFile(tensors: ReadonlyMap<string, TensorSpec>, metadata: Metadata = {}): FileLayout {
  const measured = [...tensors].map(([name, spec]) => measure(name, spec));
  const sorted = inFileOrder(measured);

  const fields = new JsonItems();
  for (const field of metadataField(metadata)) fields.add(field);
  let dataBytes = 0;
  for (const { name, spec, bytes } of sorted) {
    const offsets = `${dataBytes},${dataBytes + bytes}`;
    fields.add(
      `${JSON.stringify(name)}:{"dtype":"${spec.dtype}","shape":[${spec.shape.join(",")}],"data_offsets":[${offsets}]}`,
    );
    dataBytes += bytes;
  }
  const header = encodeHeader(fields.encode("{", "}"));

  let end = header.byteLength;
  const placed = sorted.map(({ name, spec: { dtype, shape }, bytes }): PlacedTensor => {
    const start = end;
    end += bytes;
    return { name, dtype, shape, start, end };
  });
  if (!Number.isSafeInteger(end)) {
    throw invalid("a safetensors file of more than 2^53 − 1 bytes: split it with planShards");
  }
  return { header, byteLength: end, tensors: placed };
}

/** Sorts as the tensors of a file are sorted: the widest dtypes first, then by name in the order of UTF-8. */
export function inFileOrder<T extends { readonly name: string; readonly spec: TensorSpec }>(
  tensors: readonly T[],
): T[] {
  const rankOf = ({ spec }: T) => RANK.get(spec.dtype) ?? 0;
  return sortByName(tensors, ({ name }) => name).sort((a, b) => rankOf(b) - rankOf(a));
}

function measure(name: string, spec: TensorSpec) {
  if (!isTensorName(name)) {
    const rule = `${METADATA_KEY} is reserved, and lone surrogates cannot be written`;
    throw new HoldfastError("INVALID_STATE", `no tensor can be called ${quoted(name)}: ${rule}`);
  }
  try {
    return { name, spec, bytes: byteLength(spec) };
  } catch (cause) {
    throw invalid(`tensor ${quoted(name)}: ${messageOf(cause)}`, cause);
  }
}

function metadataField(metadata: Metadata): string[] {
  const pairs: [string, string][] = metadata instanceof Map ? [...metadata] : Object.entries(metadata);
  for (const [key, value] of pairs) {
    if (typeof value !== "string" || !isWellFormed(key) || !isWellFormed(value)) {
      throw invalid(`metadata ${quoted(key)}: keys and values have to be strings of well-formed Unicode`);
    }
  }
  const sorted = sortByName(pairs, ([key]) => key);
  const fields = sorted.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`);
  return fields.length === 0 ? [] : [`"${METADATA_KEY}":{${fields.join(",")}}`];
}

/** The length as a u64, then the JSON, padded with spaces. */
function encodeHeader(json: Uint8Array): Uint8Array {
  const length = Math.ceil(json.byteLength / 8) * 8;
  if (length > MAX_HEADER_BYTES) {
    throw invalid(
      `the header takes ${length} bytes of at most 100,000,000: put the tensors into several files`,
    );
  }
  const header = new Uint8Array(LENGTH_BYTES + length).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true);
  header.set(json, LENGTH_BYTES);
  return header;
}

function invalid(message: string, cause?: unknown): HoldfastError {
  return new HoldfastError("INVALID_ARGUMENT", message, { cause });
}
