/** Tensors by name, as bytes. */
export type Tensors = ReadonlyMap<string, Uint8Array>;

/** The names of the tensors that differ in any bit, or that one side lacks. */
export function differences(expected: Tensors, actual: Tensors): string[] {
  const names = new Set([...expected.keys(), ...actual.keys()]);
  return [...names].filter((name) => {
    const one = expected.get(name);
    const other = actual.get(name);
    return !one || !other || Buffer.compare(one, other) !== 0;
  });
}

export function totalBytes(tensors: Tensors): number {
  return [...tensors.values()].reduce((total, { byteLength }) => total + byteLength, 0);
}
