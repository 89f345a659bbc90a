/**
 * A state is named groups of tensors, each a tree: objects, arrays and Maps, whose leaves a backend
 * accepts. Here it becomes a flat list of names, and is built again with other leaves.
 */
import type { Backend } from "./backend";
import { HoldfastError, messageOf } from "./errors";
import { tensorKey } from "./manifest";
import { isSafeName } from "./paths";
import { isTensorName } from "./safetensors/names";
import { byteLength, type TensorSpec } from "./tensor";

/** Checks a state's type leaf by leaf: a leaf that is no `T` becomes `never`, where the compiler points at it. */
export type StateOf<S, T> = { [Group in keyof S]: TreeOf<S[Group], T> };
type TreeOf<S, T> = S extends T
  ? S
  : S extends ReadonlyMap<infer K, infer V>
    ? ReadonlyMap<K, TreeOf<V, T>>
    : S extends readonly (infer E)[]
      ? readonly TreeOf<E, T>[]
      : S extends (...args: never) => unknown
        ? never
        : S extends object
          ? { [Key in keyof S]: TreeOf<S[Key], T> }
          : never;

/** One name of one tensor. */
export interface Leaf {
  /** `group/name`. */
  readonly key: string;
  readonly group: string;
  /** The path within the group, joined with `.`. */
  readonly name: string;
  readonly tensor: unknown;
  readonly backend: Backend;
  readonly spec: TensorSpec;
  /** The key of the first name of the same tensor, if this is not the first. */
  readonly tiedTo: string | undefined;
}

export interface FlatState {
  readonly groups: readonly string[];
  /** Every name, in the state's own order. */
  readonly leaves: ReadonlyMap<string, Leaf>;
}

/**
 * @throws HoldfastError `INVALID_STATE` for a leaf that no backend accepts, a group that cannot be a file's
 *   name, a name that is not well-formed Unicode, or two paths that join to one name
 */
export function flatten(state: object, backends: readonly Backend[]): FlatState {
  const leaves = new Map<string, Leaf>();
  const ties = new Ties();
  const groups = Object.keys(state);
  checkGroups(groups);
  for (const [group, tree] of Object.entries(state)) {
    if (backends.some((backend) => backend.accepts(tree)))
      throw invalid(group, "is a tensor; a group holds named tensors");
    walk(group, tree, [], new Set(), (path, value) => {
      const name = path.join(".");
      const where = placeOf(group, path);
      const backend = backends.find((candidate) => candidate.accepts(value));
      if (!backend) return false;
      const key = tensorKey(group, name);
      if (leaves.has(key)) throw invalid(where, `has the name ${name}, as another tensor of the group has`);
      if (!isTensorName(name)) throw invalid(where, "has a name that safetensors cannot hold");
      const spec = describe(backend, value, where); // before anybody else looks at it: this names the path
      const tiedTo = ties.firstOf(backend.identify?.(value) ?? { memory: value, place: "" }, key);
      leaves.set(key, {
        key,
        group,
        name,
        tensor: value,
        backend,
        spec,
        tiedTo,
      });
      return true;
    });
  }
  return { groups, leaves };
}

/** The state that was made `flat`, with `tensors` in the place of its leaves, by key. */
export function rebuild<S extends object>(
  state: S,
  flat: FlatState,
  tensors: ReadonlyMap<string, unknown>,
): S {
  const replace: Replace = (key, value) => {
    // A container may have the name of a tensor elsewhere: `{"a.b": {c}, a: {b}}`.
    return flat.leaves.get(key)?.tensor === value ? { tensor: tensors.get(key) } : undefined;
  };
  const entries = Object.entries(state).map(([group, tree]) => [
    group,
    rebuildTree(tree, [], group, replace),
  ]);
  return Object.fromEntries(entries) as S;
}

/** Which names are of one tensor. */
class Ties {
  readonly #firsts = new Map<unknown, Map<string, string>>();

  /** The first key of the tensor, or undefined if `key` is. */
  firstOf(
    { memory, place }: { readonly memory: unknown; readonly place: string },
    key: string,
  ): string | undefined {
    const inMemory = this.#firsts.get(memory) ?? new Map<string, string>();
    this.#firsts.set(memory, inMemory);
    const first = inMemory.get(place);
    if (first === undefined) inMemory.set(place, key);
    return first;
  }
}

type Visit = (path: readonly string[], value: unknown) => boolean;

/** Visits depth first what is no container; `visit` says whether it took it. Tensors may look like containers. */
function walk(
  group: string,
  value: unknown,
  path: readonly string[],
  above: Set<unknown>,
  visit: Visit,
): void {
  if (path.length > 0 && visit(path, value)) return;
  const children = childrenOf(value);
  const where = placeOf(group, path);
  if (!children) throw invalid(where, refusal(value));
  if (above.has(value)) throw invalid(where, "contains itself");
  if (path.length > MAX_DEPTH)
    throw invalid(`${group}: ${path[0]} → …`, `is nested more than ${MAX_DEPTH} deep`);
  above.add(value);
  for (const [key, child] of children) walk(group, child, [...path, key], above, visit);
  above.delete(value);
}

/** For messages: `model: layers → 0 → bias`. */
function placeOf(group: string, path: readonly string[]): string {
  return path.length > 0 ? `${group}: ${path.join(" → ")}` : group;
}

/** What stands in the place of a leaf; undefined for a container. */
type Replace = (key: string, value: unknown) => { readonly tensor: unknown } | undefined;

function rebuildTree(value: unknown, path: readonly string[], group: string, replace: Replace): unknown {
  const replaced = path.length > 0 ? replace(tensorKey(group, path.join(".")), value) : undefined;
  if (replaced) return replaced.tensor;
  const again = (name: string, child: unknown) => rebuildTree(child, [...path, name], group, replace);
  if (Array.isArray(value)) return value.map((child, i) => again(String(i), child));
  if (value instanceof Map)
    return new Map([...value].map(([key, child]) => [key, again(String(key), child)]));
  return Object.fromEntries((childrenOf(value) ?? []).map(([name, child]) => [name, again(name, child)]));
}

function childrenOf(value: unknown): readonly (readonly [string, unknown])[] | undefined {
  if (Array.isArray(value)) return Array.from(value, (child, i) => [String(i), child] as const);
  if (value instanceof Map) return [...value].map(([key, child]) => [String(key), child] as const);
  if (typeof value !== "object" || value === null) return undefined;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null ? Object.entries(value) : undefined;
}

function describe(backend: Backend, tensor: unknown, where: string): TensorSpec {
  try {
    const spec = backend.describe(tensor);
    byteLength(spec);
    return spec;
  } catch (cause) {
    throw new HoldfastError("INVALID_STATE", `${where}: ${messageOf(cause)}`, { cause });
  }
}

const LONGEST_SUFFIX = "-00001-of-00001.safetensors.index.json";

function checkGroups(groups: readonly string[]): void {
  const seen = new Set<string>();
  for (const group of groups) {
    if (!isSafeName(`${group}${LONGEST_SUFFIX}`)) {
      throw invalid(group, "cannot be a file's name: use letters, digits, _, - and ., at most 160 of them");
    }
    // What another group's files are called when it is split.
    if (/-\d{5}-of-\d{5}$/.test(group)) throw invalid(group, "is called like a part of a split file");
    // Some file systems do not tell upper case from lower.
    if (seen.has(group.toLowerCase())) throw invalid(group, "differs from another group only in case");
    seen.add(group.toLowerCase());
  }
}

/** Why something is neither a tensor nor a container, and what to do about it. */
function refusal(value: unknown): string {
  if (value === undefined || value === null) return `is ${value}: leave the key out`;
  if (typeof value !== "object")
    return `is a ${typeof value}, which no backend accepts; it may go into extra`;
  const kind = value.constructor?.name ?? "class instance";
  return `is a ${kind}, which no backend accepts; tensors lie in plain objects, arrays and Maps`;
}

/** Deeper than any model is built, and well within the stack. */
const MAX_DEPTH = 500;

function invalid(where: string, rule: string): HoldfastError {
  return new HoldfastError("INVALID_STATE", `${where} ${rule}`);
}
