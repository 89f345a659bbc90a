/**
 * Reads the header of a safetensors file: a little-endian u64 N, then N bytes of JSON, then the data.
 * The rules are those of the reference implementation (the `safetensors` crate), and stricter in two
 * points: a duplicate key is refused, and so is a tensor written as an array or a dtype as an object.
 */
import { HoldfastError } from "../errors";
import { DTYPE_BITS, type DType, isDType, type TensorSpec } from "../tensor";
import { METADATA_KEY, quoted } from "./names";
import { JsonReader, UINT64_MAX } from "./strict-json";

/** The reference refuses larger headers, so that a hostile length cannot exhaust memory. */
export const MAX_HEADER_BYTES = 100_000_000;
/** Of the u64 that the file begins with. */
export const LENGTH_BYTES = 8;

/**
 * A tensor and where its bytes lie: `[start, end)` from the start of the file.
 * A zero-size tensor may have dimensions up to 2^64 − 1: beyond 2^53 they are the nearest double.
 */
export interface TensorEntry extends TensorSpec {
  readonly start: number;
  readonly end: number;
}

export interface SafetensorsHeader {
  /** Where the data begins: 8 + N. */
  readonly headerBytes: number;
  /** In the order of their data, with neither gap nor overlap. */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  /** The file's `__metadata__`; empty if it has none. */
  readonly metadata: ReadonlyMap<string, string>;
}

/**
 * How many bytes of a file `readHeader` needs: 8 + N, at most 100,000,008.
 * @param first8 The start of the file; 8 bytes suffice.
 * @param fileSize In bytes.
 * @throws HoldfastError `SAFETENSORS_INVALID` if the header is too large or ends behind the file;
 *   `INVALID_ARGUMENT` if `fileSize` is no size, or `first8` too short for it.
 */
export function headerByteLength(first8: Uint8Array, fileSize: number): number {
  if (!Number.isSafeInteger(fileSize) || fileSize < 0) {
    throw new HoldfastError("INVALID_ARGUMENT", `fileSize ${fileSize} is no number of bytes`);
  }
  if (fileSize < LENGTH_BYTES)
    throw invalid(`the file has ${fileSize} bytes, and its header's length takes 8`);
  requireBytes(first8, LENGTH_BYTES);
  const length = new DataView(first8.buffer, first8.byteOffset, LENGTH_BYTES).getBigUint64(0, true);
  if (length > MAX_HEADER_BYTES)
    throw invalid(`a header of ${length} bytes is over the limit of 100,000,000`);
  const headerBytes = LENGTH_BYTES + Number(length);
  if (headerBytes > fileSize) throw invalid(`the header ends at ${headerBytes}, the file at ${fileSize}`);
  return headerBytes;
}

/**
 * Reads and checks a header: what it returns is whole, and lies within the file.
 * @param bytes The start of the file, `headerByteLength` bytes or more.
 * @param fileSize In bytes.
 * @throws HoldfastError `SAFETENSORS_INVALID` naming the tensor and the rule; `INVALID_ARGUMENT` if `bytes`
 *   are too few.
 */
export function readHeader(bytes: Uint8Array, fileSize: number): SafetensorsHeader {
  const headerBytes = headerByteLength(bytes, fileSize);
  requireBytes(bytes, headerBytes);
  const entries: [string, TensorEntry][] = [];
  let metadata: ReadonlyMap<string, string> = new Map();
  let current: string | undefined;
  try {
    const json = new JsonReader(bytes.subarray(LENGTH_BYTES, headerBytes));
    json.object((key) => {
      current = key;
      if (key === METADATA_KEY) metadata = readMetadata(json);
      else entries.push([key, readTensor(json, headerBytes, fileSize)]);
      current = undefined;
    });
    json.end();
  } catch (error) {
    if (error instanceof SyntaxError) throw invalid(error.message, current, error);
    throw error;
  }
  entries.sort(([, a], [, b]) => a.start - b.start || a.end - b.end);
  checkCoverage(entries, headerBytes, fileSize);
  return { headerBytes, tensors: new Map(entries), metadata };
}

function readMetadata(json: JsonReader): ReadonlyMap<string, string> {
  const metadata = new Map<string, string>();
  // The reference takes null for no metadata.
  if (json.peek() === "null") json.null();
  else json.object((key) => metadata.set(key, json.string()));
  return metadata;
}

/** One tensor by itself. Fields that the format does not know are passed over, as the reference does. */
function readTensor(json: JsonReader, headerBytes: number, fileSize: number): TensorEntry {
  const fields: { dtype?: DType; shape?: Shape; range?: Range } = {};
  json.object((key) => {
    if (key === "dtype") fields.dtype = readDType(json);
    else if (key === "shape") fields.shape = readShape(json);
    else if (key === "data_offsets") fields.range = readRange(json, fileSize - headerBytes);
    else json.skip();
  });
  const { dtype, shape, range } = fields;
  if (!dtype || !shape || !range) {
    throw json.error(`${dtype ? (shape ? "data_offsets" : "shape") : "dtype"} is missing`);
  }
  const bits = shape.elements * BigInt(DTYPE_BITS[dtype]);
  if (bits % 8n !== 0n)
    throw json.error(`${shape.elements} elements of ${dtype} are no whole number of bytes`);
  if (bits / 8n !== BigInt(range.end - range.begin)) {
    throw json.error(
      `shape × dtype takes ${bits / 8n} bytes, data_offsets [${range.begin}, ${range.end}) hold others`,
    );
  }
  return {
    dtype,
    shape: shape.dimensions,
    start: headerBytes + range.begin,
    end: headerBytes + range.end,
  };
}

function readDType(json: JsonReader): DType {
  const dtype = json.string();
  if (!isDType(dtype)) throw json.error(`dtype ${quoted(dtype)} is none of the format's`);
  return dtype;
}

interface Shape {
  readonly dimensions: readonly number[];
  readonly elements: bigint;
}

/** The product is that of u64: it may overflow before a 0 comes, and is then refused, as in the reference. */
function readShape(json: JsonReader): Shape {
  const dimensions: number[] = [];
  let elements = 1n;
  json.array(() => {
    const dimension = json.uint64();
    elements *= dimension;
    if (elements > UINT64_MAX) throw json.error("the elements of shape are more than 2^64 − 1");
    dimensions.push(Number(dimension));
  });
  return { dimensions, elements };
}

/** Bytes `[begin, end)` of the data. */
interface Range {
  readonly begin: number;
  readonly end: number;
}

function readRange(json: JsonReader, dataBytes: number): Range {
  const offsets: number[] = [];
  json.array((index) => {
    if (index > 1) throw json.error("data_offsets are more than two");
    const offset = json.uint64();
    if (offset > dataBytes) throw json.error(`data_offsets reach ${offset}, the data ${dataBytes}`);
    offsets.push(Number(offset));
  });
  const [begin, end] = offsets;
  if (begin === undefined || end === undefined) throw json.error("data_offsets are fewer than two");
  return { begin, end };
}

/** The tensors, in order, cover the data: no hole, no overlap, nothing before or behind them. */
function checkCoverage(
  entries: readonly (readonly [string, TensorEntry])[],
  headerBytes: number,
  fileSize: number,
) {
  let position = headerBytes;
  for (const [name, { start, end }] of entries) {
    if (start !== position) {
      const rule = start > position ? "leaves a hole" : "overlaps the tensor before it";
      throw invalid(`it begins at byte ${start} of the file instead of ${position}: it ${rule}`, name);
    }
    position = end;
  }
  if (position !== fileSize) throw invalid(`the tensors end at byte ${position}, the file at ${fileSize}`);
}

function requireBytes(bytes: Uint8Array, needed: number): void {
  if (bytes.byteLength >= needed) return;
  throw new HoldfastError(
    "INVALID_ARGUMENT",
    `${bytes.byteLength} bytes do not hold the file's first ${needed}: pass as many as headerByteLength says`,
  );
}

function invalid(rule: string, key?: string, cause?: unknown): HoldfastError {
  const where = key === undefined ? "" : key === METADATA_KEY ? `${key}: ` : `tensor ${quoted(key)}: `;
  return new HoldfastError("SAFETENSORS_INVALID", `not a valid safetensors file: ${where}${rule}`, { cause });
}
