/** A backend like jax-js's: tensors are immutable and reference-counted, and snapshots retain them. */
import type { Backend, Snapshot, SnapshotMode } from "../../backend";
import { HoldfastError } from "../../errors";
import { byteLength, type TensorSpec } from "../../tensor";
import type { BackendSuite } from "../index";

export class ImmutableTensor {
  #references = 1;

  constructor(
    readonly spec: TensorSpec,
    readonly bytes: Uint8Array,
  ) {}

  get alive(): boolean {
    return this.#references > 0;
  }

  retain(): this {
    if (!this.alive) throw new Error("a tensor was used after it was freed");
    this.#references++;
    return this;
  }

  /** Whoever reads it after the last reference is gone reads nonsense. */
  free(): void {
    if (!this.alive) throw new Error("a tensor was freed twice");
    this.#references--;
    if (!this.alive) this.bytes.fill(0xdd);
  }
}

function immutableBackend(): Backend<ImmutableTensor> {
  return {
    name: "immutable",
    protocol: 1,
    accepts: (value): value is ImmutableTensor => value instanceof ImmutableTensor,
    describe: ({ spec }) => spec,
    share: (tensor) => tensor.retain(),
    dispose: (tensor) => tensor.free(),

    snapshot(tensors, { device }): Snapshot {
      const held = new Map([...tensors].map(([name, tensor]) => [name, tensor.retain()]));
      const bytes = [...held.values()].reduce((sum, { spec }) => sum + byteLength(spec), 0);
      const mode: SnapshotMode = device.reserve(bytes) ? "retained" : "blocking";
      let close = () => {};
      const closed = new Promise<void>((resolve) => {
        close = resolve;
      });
      let open = true;
      return {
        mode,
        staged: mode === "retained" ? Promise.resolve() : closed,
        async read(ranges, into, signal) {
          let position = 0;
          for (const { name, start, end } of ranges) {
            await Promise.resolve(); // as a device's reads do, it takes turns
            signal?.throwIfAborted();
            if (!open) throw new HoldfastError("CLOSED", "this snapshot was closed");
            into.set(held.get(name)?.bytes.subarray(start, end) ?? [], position);
            position += end - start;
          }
          signal?.throwIfAborted();
          if (!open) throw new HoldfastError("CLOSED", "this snapshot was closed");
        },
        close() {
          if (!open) return;
          open = false;
          for (const tensor of held.values()) tensor.free();
          if (mode === "retained") device.release(bytes);
          close();
        },
      };
    },

    async restore(tensors, source, signal) {
      const made = new Map<string, ImmutableTensor>();
      for (const [name, { spec }] of tensors) {
        made.set(name, new ImmutableTensor(spec, new Uint8Array(byteLength(spec))));
      }
      try {
        signal?.throwIfAborted();
        for await (const { parts, release } of source.batches()) {
          for (const { name, start, bytes } of parts) made.get(name)?.bytes.set(bytes, start);
          release();
          signal?.throwIfAborted();
        }
      } catch (error) {
        for (const tensor of made.values()) tensor.free();
        throw error;
      }
      return made;
    },
  };
}

export function immutableSuite(
  name: string,
  changes: Partial<Backend<ImmutableTensor>> = {},
): BackendSuite<ImmutableTensor> {
  return {
    name,
    async open() {
      return {
        backend: { ...immutableBackend(), ...changes },
        create: async (spec, bytes) => new ImmutableTensor(spec, bytes),
        bytes: async (tensor) => tensor.bytes.slice(),
        async overwrite(tensor, bytes) {
          tensor.free();
          return new ImmutableTensor(tensor.spec, bytes);
        },
      };
    },
  };
}
