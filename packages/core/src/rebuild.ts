/** A state built again with other leaves. */
import { isPlainObject } from "./flatten";
import { tensorKey } from "./manifest";
import type { FlatState } from "./state";

/** The state that was made `flat`, with `tensors` in the place of its leaves, by key. */
export function rebuild<S extends object>(
  state: S,
  flat: FlatState,
  tensors: ReadonlyMap<string, unknown>,
): S {
  const originals = new Map(flat.form.leaves.map(({ key, index }) => [key, flat.tensors[index]]));
  const replace: Replace = (key, value) => {
    // A container may have the name of a tensor elsewhere: `{"a.b": {c}, a: {b}}`.
    return originals.has(key) && originals.get(key) === value ? { tensor: tensors.get(key) } : undefined;
  };
  const groups = Object.entries(state).map(([group, tree]) => [
    group,
    rebuildChildren(tree, (step, child) => rebuildTree(child, group, String(step), replace)),
  ]);
  return Object.fromEntries(groups) as S;
}

/** What stands in the place of a leaf; undefined for a container. */
type Replace = (key: string, value: unknown) => { readonly tensor: unknown } | undefined;

function rebuildTree(value: unknown, group: string, name: string, replace: Replace): unknown {
  const replaced = replace(tensorKey(group, name), value);
  if (replaced) return replaced.tensor;
  return rebuildChildren(value, (step, child) => rebuildTree(child, group, `${name}.${step}`, replace));
}

function rebuildChildren(value: unknown, again: (step: unknown, child: unknown) => unknown): unknown {
  if (Array.isArray(value)) return value.map((child, i) => again(i, child));
  if (value instanceof Map)
    return new Map([...value].map(([key, child]) => [key, again(String(key), child)]));
  if (!isPlainObject(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, child]) => [key, again(key, child)]));
}
