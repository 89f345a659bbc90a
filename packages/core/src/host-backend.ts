/**
 * The backend for tensors in JavaScript's own memory: typed arrays, and `{ data, dtype, shape }`. Its
 * device is the host, so that its copies and its budget are of host memory.
 */
import type { Backend } from "./backend";
import { HoldfastError } from "./errors";
import { Copies } from "./host-copies";
import { HostSnapshot, totalBytes } from "./host-snapshot";
import {
  bytesOfHostLeaf,
  describeHostLeaf,
  type HostLeaf,
  identifyHostLeaf,
  isHostLeaf,
} from "./host-tensor";

/**
 * Takes typed arrays (one dimension, the dtype of the array) and `HostTensor`s as leaves, and restores
 * them in place. A snapshot copies them once, into memory that is kept for the next save of that size;
 * where the copy does not fit the budget, or the budget has no limit, it is `blocking`.
 * @throws HoldfastError `UNSUPPORTED` on a big-endian machine: safetensors is little-endian.
 */
export function hostBackend(): Backend<HostLeaf> {
  if (new Uint8Array(new Uint16Array([1]).buffer)[0] !== 1) {
    throw new HoldfastError("UNSUPPORTED", "the host backend needs a little-endian machine");
  }
  const copies = new Copies();
  return {
    name: "host",
    protocol: 1,
    accepts: isHostLeaf,
    describe: describeHostLeaf,
    identify: identifyHostLeaf,
    snapshot: (tensors, { device }) => new HostSnapshot(tensors, device, copies),
    async prepare(tensors, { device }) {
      const copy = copies.take(totalBytes(tensors), device);
      if (copy) copies.giveBack(copy);
    },
    async restore(tensors, source, signal) {
      const targets = new Map([...tensors].map(([name, leaf]) => [name, bytesOfHostLeaf(leaf, name)]));
      signal?.throwIfAborted();
      for await (const batch of source.batches()) {
        try {
          signal?.throwIfAborted();
          for (const part of batch.parts) bytesNamed(targets, part.name).set(part.bytes, part.start);
        } finally {
          batch.release();
        }
      }
      return new Map(tensors);
    },
    close: () => copies.close(),
  };
}

function bytesNamed(tensors: ReadonlyMap<string, Uint8Array>, name: string): Uint8Array {
  const bytes = tensors.get(name);
  if (!bytes) throw new HoldfastError("INVALID_ARGUMENT", `no tensor ${name} was given to the host backend`);
  return bytes;
}
