/** Converts floating-point tensors between dtypes on their way back, rounding to nearest, ties to even. */
import type { TensorBatch, TensorPart, TensorSource } from "./backend";
import { DTYPE_BITS, type DType, type TensorSpec } from "./tensor";

interface FloatFormat {
  read(view: DataView, at: number): number;
  write(view: DataView, at: number, value: number): void;
}

const FORMATS: Partial<Record<DType, FloatFormat>> = {
  F64: {
    read: (view, at) => view.getFloat64(at, true),
    write: (view, at, value) => view.setFloat64(at, value, true),
  },
  F32: {
    read: (view, at) => view.getFloat32(at, true),
    write: (view, at, value) => view.setFloat32(at, value, true),
  },
  F16: smallFloat({ mantissaBits: 10, bias: 15 }),
  BF16: smallFloat({ mantissaBits: 7, bias: 127 }),
};

/** What a conversion holds beside the chunks: it goes piece by piece. A multiple of 4 elements. */
const PIECE_ELEMENTS = 64 * 1024;

export function canCast(from: DType, to: DType): boolean {
  return FORMATS[from] !== undefined && FORMATS[to] !== undefined;
}

/** `source` with its tensors in the dtypes of `targets`; those that have them already pass untouched. */
export function castSource(source: TensorSource, targets: ReadonlyMap<string, TensorSpec>): TensorSource {
  const differs = [...targets].some(([name, { dtype }]) => source.tensors.get(name)?.dtype !== dtype);
  if (!differs) return source;
  return {
    tensors: targets,
    async *batches() {
      for await (const batch of source.batches()) yield* castBatch(batch, source.tensors, targets);
    },
  };
}

function* castBatch(
  batch: TensorBatch,
  sources: ReadonlyMap<string, TensorSpec>,
  targets: ReadonlyMap<string, TensorSpec>,
): Generator<TensorBatch> {
  const kept: TensorPart[] = [];
  for (const part of batch.parts) {
    const from = sources.get(part.name)?.dtype;
    const to = targets.get(part.name)?.dtype;
    if (from && to && from !== to) {
      for (const cast of castPart(part, from, to)) yield { parts: [cast], release: () => {} };
    } else kept.push(part);
  }
  yield { parts: kept, release: batch.release };
}

function* castPart({ name, start, bytes }: TensorPart, from: DType, to: DType): Generator<TensorPart> {
  const source = FORMATS[from];
  const target = FORMATS[to];
  if (!source || !target) return;
  const sourceBytes = DTYPE_BITS[from] / 8;
  const targetBytes = DTYPE_BITS[to] / 8;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const elements = bytes.byteLength / sourceBytes;
  for (let first = 0; first < elements; first += PIECE_ELEMENTS) {
    const count = Math.min(PIECE_ELEMENTS, elements - first);
    const cast = new DataView(new ArrayBuffer(count * targetBytes));
    for (let i = 0; i < count; i++)
      target.write(cast, i * targetBytes, source.read(view, (first + i) * sourceBytes));
    yield { name, start: (start / sourceBytes + first) * targetBytes, bytes: new Uint8Array(cast.buffer) };
  }
}

/** IEEE 754's scheme in 16 bits: a sign, an exponent with `bias`, a mantissa. */
function smallFloat({ mantissaBits, bias }: { mantissaBits: number; bias: number }): FloatFormat {
  const unit = 2 ** mantissaBits;
  const smallestExponent = 1 - bias;
  const infinity = (2 * bias + 1) * unit;
  const bits64 = new DataView(new ArrayBuffer(8));
  const exponentOf = (value: number) => {
    bits64.setFloat64(0, value);
    return ((bits64.getUint16(0) >>> 4) & 0x7ff) - 1023;
  };
  return {
    read(view, at) {
      const bits = view.getUint16(at, true);
      const sign = bits & 0x8000 ? -1 : 1;
      const exponent = Math.floor((bits & 0x7fff) / unit);
      const mantissa = (bits & 0x7fff) % unit;
      if (exponent === 2 * bias + 1) return mantissa === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
      if (exponent === 0) return sign * mantissa * 2 ** (smallestExponent - mantissaBits);
      return sign * (unit + mantissa) * 2 ** (exponent - bias - mantissaBits);
    },
    write(view, at, value) {
      const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
      const magnitude = Math.abs(value);
      if (Number.isNaN(value)) view.setUint16(at, infinity + unit / 2, true);
      else if (magnitude === Number.POSITIVE_INFINITY) view.setUint16(at, sign | infinity, true);
      else {
        const exponent = Math.max(exponentOf(magnitude), smallestExponent);
        // A power of two divides exactly, so that the only rounding is this one.
        const steps = roundTiesToEven(magnitude / 2 ** (exponent - mantissaBits));
        // Steps below `unit` are subnormal; a carry out of the mantissa moves into the exponent by itself.
        const bits = steps < unit ? steps : (exponent + bias - 1) * unit + steps;
        view.setUint16(at, sign | Math.min(bits, infinity), true);
      }
    },
  };
}

function roundTiesToEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  if (rest !== 0.5) return Math.round(value);
  return below % 2 === 0 ? below : below + 1;
}
