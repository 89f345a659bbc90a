import { describe, expect, test } from "vitest";
import type { SnapshotOptions, TensorBatch, TensorSource } from "./backend";
import { ByteBudget } from "./budget";
import { backendConformance } from "./conformance";
import { hostBackend } from "./host-backend";
import type { HostLeaf } from "./host-tensor";
import { formatSpec, type TensorSpec } from "./tensor";

const MiB = 1024 * 1024;

for (const [name, Memory] of [
  ["", ArrayBuffer] as const,
  [" in shared memory", SharedArrayBuffer] as const,
]) {
  backendConformance<HostLeaf>(
    { describe, test },
    {
      name: `host${name}`,
      async open() {
        return {
          backend: hostBackend(),
          async create({ dtype, shape }, bytes) {
            // Surrounded by other bytes: a tensor is its view, not its buffer.
            const data = new Uint8Array(new Memory(bytes.byteLength + 24), 8, bytes.byteLength);
            data.set(bytes);
            return { data, dtype, shape };
          },
          bytes: async (tensor) => bytesOf(tensor).slice(),
          async overwrite(tensor, bytes) {
            bytesOf(tensor).set(bytes);
            return tensor;
          },
        };
      },
    },
  );
}

describe("leaves", () => {
  const backend = hostBackend();

  test("typed arrays have their dtype and one dimension", () => {
    const arrays = [
      [new Float32Array(3), "F32"],
      [new Float64Array(3), "F64"],
      [new Int8Array(3), "I8"],
      [new Int16Array(3), "I16"],
      [new Int32Array(3), "I32"],
      [new Uint8Array(3), "U8"],
      [new Uint8ClampedArray(3), "U8"],
      [new Uint16Array(3), "U16"],
      [new Uint32Array(3), "U32"],
      [new BigInt64Array(3), "I64"],
      [new BigUint64Array(3), "U64"],
    ] as const;
    for (const [array, dtype] of arrays) {
      expect(backend.accepts(array)).toBe(true);
      expect(backend.describe(array)).toEqual({ dtype, shape: [3] });
    }
  });

  test("views of any kind carry other dtypes and shapes", () => {
    const data = new Uint16Array(6);
    const views = [data, new Uint8Array(data.buffer), new DataView(data.buffer)];
    for (const view of views) {
      const leaf = { data: view, dtype: "BF16", shape: [2, 3] } as const;
      expect(backend.accepts(leaf)).toBe(true);
      expect(backend.describe(leaf)).toEqual({ dtype: "BF16", shape: [2, 3] });
    }
  });

  test("lists of numbers, DataViews and buffers are no leaves", () => {
    for (const value of [[1, 2], new DataView(new ArrayBuffer(4)), new ArrayBuffer(4), { data: [1] }]) {
      expect(backend.accepts(value)).toBe(false);
    }
  });

  test.each([
    [{ data: new Float32Array(3), dtype: "F32", shape: [2, 2] } as const, /12 bytes.*F32\[2,2\] takes 16/],
    [{ data: new Float32Array(5), dtype: "F32", shape: [] } as const, /20 bytes.*F32\[\] takes 4/],
    [{ data: new Uint8Array(1), dtype: "F4", shape: [3] } as const, /no whole number of bytes/],
    [{ data: new Uint8Array(1), dtype: "U8", shape: [-1] } as const, /whole number ≥ 0/],
  ])("data that contradicts its shape is refused with both numbers (%#)", (leaf, message) => {
    expect(() => backend.describe(leaf)).toThrow(expect.objectContaining({ code: "INVALID_STATE" }));
    expect(() => backend.describe(leaf)).toThrow(message);
    expect(() => backend.snapshot(new Map([["w", leaf]]), room())).toThrow(message);
  });

  test("an unknown dtype is refused by name", () => {
    const leaf = { data: new Uint8Array(1), dtype: "F128", shape: [1] };
    if (!backend.accepts(leaf)) throw new Error("a leaf of an unknown dtype has to be accepted to be named");
    expect(() => backend.describe(leaf)).toThrow(/F128/);
  });

  test("the same bytes, dtype and shape are one tensor", () => {
    const data = new Float32Array(8);
    const place = (leaf: HostLeaf) => {
      const identity = backend.identify?.(leaf);
      expect(identity?.memory).toBe(data.buffer);
      return `${identity?.offset} ${formatSpec(backend.describe(leaf))}`;
    };
    const same = { data: new DataView(data.buffer), dtype: "F32", shape: [8] } as const;
    expect(place(same)).toBe(place(data));
    expect(place(new Float32Array(data.buffer))).toBe(place(data));
    const others = [
      data.subarray(4),
      data.subarray(0, 4),
      new Int32Array(data.buffer),
      { data, dtype: "F32", shape: [2, 4] } as const,
    ];
    expect(new Set([data, ...others].map(place)).size).toBe(1 + others.length);
    expect(place(data.subarray(4))).toBe(place(data.subarray(4)));
    expect(backend.identify?.(data.slice()).memory).not.toBe(data.buffer);
  });

  test("of a detached buffer are themselves: it has no bytes to share", () => {
    const data = new Float32Array(8);
    const views: HostLeaf[] = [data, data.subarray(0, 8), { data, dtype: "F32", shape: [8] }];
    structuredClone(data.buffer, { transfer: [data.buffer] });
    for (const view of views) expect(backend.identify?.(view).memory).toBe(view);
  });
});

describe("buffers that go away", () => {
  const lost = expect.objectContaining({
    code: "TENSOR_NOT_READABLE",
    message: expect.stringContaining("layer.w"),
  });

  test("a detached or shrunk one is named by `snapshot`, before anything is reserved", () => {
    const detached = new Float32Array(4);
    structuredClone(detached.buffer, { transfer: [detached.buffer] });
    const buffer = resizable(16);
    const shrunk = new Float32Array(buffer, 0, 4);
    buffer.resize(8);
    for (const data of [detached, shrunk]) {
      const device = new ByteBudget(MiB);
      const leaves: HostLeaf[] = [data, { data, dtype: "F32", shape: [4] }];
      for (const leaf of leaves) {
        expect(() => hostBackend().snapshot(new Map([["layer.w", leaf]]), { device })).toThrow(lost);
      }
      expect(device.used).toBe(0);
    }
  });

  test("a copy outlives it", async () => {
    const data = Float32Array.of(1, 2, 3, 4);
    const before = bytesOf(data).slice();
    const snapshot = hostBackend().snapshot(new Map([["layer.w", data]]), room());
    expect(snapshot.mode).toBe("device-copy");
    structuredClone(data.buffer, { transfer: [data.buffer] });
    const into = new Uint8Array(16);
    await snapshot.read([{ name: "layer.w", start: 0, end: 16 }], into);
    expect(into).toEqual(before);
  });

  test("a blocking snapshot rejects the read that finds it gone", async () => {
    const data = new Float32Array(4);
    const buffer = resizable(16);
    const tensors = new Map<string, HostLeaf>([
      ["layer.w", data],
      ["layer.w.resized", new Uint8Array(buffer, 4, 12)],
    ]);
    const snapshot = hostBackend().snapshot(tensors, { device: new ByteBudget(0) });
    expect(snapshot.mode).toBe("blocking");
    structuredClone(data.buffer, { transfer: [data.buffer] });
    buffer.resize(8);
    for (const name of tensors.keys()) {
      await expect(snapshot.read([{ name, start: 0, end: 4 }], new Uint8Array(4))).rejects.toThrow(lost);
    }
  });

  test("`restore` names it", async () => {
    const data = new Float32Array(4);
    structuredClone(data.buffer, { transfer: [data.buffer] });
    const tensors = new Map([["layer.w", data]]);
    const source = sourceOf(new Map([["layer.w", { dtype: "F32", shape: [4] }]]), new Uint8Array(16));
    await expect(hostBackend().restore(tensors, source)).rejects.toThrow(lost);
  });
});

describe("memory", () => {
  test("a state larger than the machine's memory blocks, instead of failing", async () => {
    const data = new Uint8Array(8 * MiB).fill(7);
    // One array under many names: 64 TiB, which no allocator gives.
    const tensors = new Map(Array.from({ length: 8192 }, (_, i) => [`w${i}`, data] as const));
    const device = new ByteBudget(2 ** 50);
    const snapshot = hostBackend().snapshot(tensors, { device });
    expect(snapshot.mode).toBe("blocking");
    expect(device.used).toBe(0);
    const into = new Uint8Array(1);
    await snapshot.read([{ name: "w8191", start: 5, end: 6 }], into);
    expect(into).toEqual(Uint8Array.of(7));
  });

  test("is not copied where the budget has no limit: the host cannot say when it is full", async () => {
    const device = new ByteBudget(Number.POSITIVE_INFINITY);
    const backend = hostBackend();
    const tensors = new Map([["w", new Float32Array(4)]]);
    await backend.prepare?.(tensors, { device });
    expect(backend.snapshot(tensors, { device }).mode).toBe("blocking");
    expect(device.used).toBe(0);
  });

  test("that was kept for one budget is no other's", () => {
    const backend = hostBackend();
    const tensors = new Map([["w", new Float32Array(4)]]);
    const roomy = new ByteBudget(MiB);
    const none = new ByteBudget(0);
    backend.snapshot(tensors, { device: roomy }).close();
    expect(roomy.used).toBe(16);
    expect(backend.snapshot(tensors, { device: none }).mode).toBe("blocking");
    expect(backend.snapshot(tensors, { device: roomy }).mode).toBe("device-copy");
    expect(roomy.used).toBe(16);
  });

  test("that was kept for a state of another size gives way", () => {
    const backend = hostBackend();
    const device = new ByteBudget(24);
    const snapshot = (length: number) =>
      backend.snapshot(new Map([["w", new Uint8Array(length)]]), { device });
    snapshot(16).close();
    const other = snapshot(24);
    expect(other.mode).toBe("device-copy");
    other.close();
    expect(device.used).toBe(24);
  });

  test("in use when the backend is closed is given back with its snapshot, not kept", () => {
    const backend = hostBackend();
    const { device } = room();
    const snapshot = backend.snapshot(new Map([["w", new Uint8Array(16)]]), { device });
    backend.close?.();
    expect(device.reserve(MiB)).toBe(false);
    snapshot.close();
    expect(device.reserve(MiB)).toBe(true);
  });

  test("`restore` fills the very arrays that it was given", async () => {
    const weights = new Float32Array(2);
    const tensors = new Map([["w", weights]]);
    const bytes = new Uint8Array(Float32Array.of(1.5, -2).buffer);
    const restored = await hostBackend().restore(
      tensors,
      sourceOf(new Map([["w", { dtype: "F32", shape: [2] }]]), bytes),
    );
    expect(restored.get("w")).toBe(weights);
    expect([...weights]).toEqual([1.5, -2]);
  });
});

function room(): SnapshotOptions {
  return { device: new ByteBudget(MiB) };
}

/** Delivers `bytes` for every tensor. */
function sourceOf(tensors: ReadonlyMap<string, TensorSpec>, bytes: Uint8Array): TensorSource {
  return {
    tensors,
    async *batches(): AsyncGenerator<TensorBatch> {
      for (const name of tensors.keys()) yield { parts: [{ name, start: 0, bytes }], release() {} };
    },
  };
}

/** ES2024; older declarations lack it. */
interface ResizableArrayBuffer extends ArrayBuffer {
  resize(byteLength: number): void;
}

function resizable(byteLength: number): ResizableArrayBuffer {
  const options: object = { maxByteLength: byteLength };
  return Reflect.construct(ArrayBuffer, [byteLength, options]);
}

function bytesOf(leaf: HostLeaf): Uint8Array {
  const { buffer, byteOffset, byteLength } = "data" in leaf ? leaf.data : leaf;
  return new Uint8Array(buffer, byteOffset, byteLength);
}
