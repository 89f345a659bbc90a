/** What the tests of core save, and how they look at what was stored. */
import { AsyncCheckpointer } from "./checkpointer";
import { hostBackend } from "./host-backend";
import type { HostLeaf } from "./host-tensor";
import type { Sink } from "./sink";

/** A state of two groups, 60 KiB in all: no tensor ends where a chunk of 4 KiB does, and no byte repeats soon. */
export function exampleState(seed = 1) {
  const numbers = (length: number, salt: number) =>
    Float32Array.from({ length }, (_, i) => Math.sin((i + 1) * salt * seed));
  return {
    model: { first: numbers(5_003, 1), second: numbers(7, 2), last: numbers(5_001, 3) },
    optimizer: { moment: numbers(5_347, 5) },
  };
}

/** A copy of the bytes of a state of two levels, by group and name. */
export function frozen(state: Readonly<Record<string, Readonly<Record<string, HostLeaf>>>>): Bytes {
  const leaves = Object.entries(state).flatMap(([group, tensors]) =>
    Object.entries(tensors).map(([name, leaf]) => [`${group}/${name}`, textOf(leaf)] as const),
  );
  return new Map(leaves);
}

/** The bytes that lie in a sink, by group and name. */
export async function stored(sink: Sink, step: number): Promise<Bytes> {
  const reader = await AsyncCheckpointer.open({ backend: hostBackend(), sink });
  const { state } = await reader.load({ step });
  const leaves = Object.entries(state).flatMap(([group, tensors]) =>
    [...tensors].map(([name, leaf]) => [`${group}/${name}`, textOf(leaf)] as const),
  );
  return new Map(leaves);
}

/** Bytes as text, one character each, which compares fast. */
type Bytes = ReadonlyMap<string, string>;

function textOf(leaf: HostLeaf): string {
  return new TextDecoder("windows-1252").decode(bytesOf(leaf));
}

/** The tensors of an example state, the one that is copied and read last first. */
export function lastFirst({ model, optimizer }: ReturnType<typeof exampleState>): readonly Float32Array[] {
  return [optimizer.moment, model.last, model.second, model.first];
}

export function bytesOf(leaf: HostLeaf): Uint8Array {
  const { buffer, byteOffset, byteLength } = ArrayBuffer.isView(leaf) ? leaf : leaf.data;
  return new Uint8Array(buffer, byteOffset, byteLength);
}
