/** Makes a state a flat list of names and tensors; from the second save on, a comparison with the first. */
import type { Backend, Identity } from "./backend";
import { HoldfastError, messageOf } from "./errors";
import { tensorKey } from "./manifest";
import { isSafeName } from "./paths";
import { Recurring } from "./recurring";
import { isTensorName } from "./safetensors/names";
import { type FlatState, type Leaf, Path, StateForm } from "./state";
import { byteLength, sameSpec, type TensorSpec } from "./tensor";
import { type Owners, type Place, Ties } from "./ties";

/**
 * `before`: the form of the state that was flattened last. If this one's is equal, it is the same object,
 * and next to nothing is allocated for a tensor.
 * @throws HoldfastError `INVALID_STATE` for a leaf that no backend accepts, a group that cannot be a file's
 *   name, a name that is not well-formed Unicode, or two paths that join to one name
 */
export function flatten(state: object, backends: readonly Backend[], before?: StateForm): FlatState {
  checkGroups(Object.keys(state));
  const flattening = new Flattening(backends, before);
  for (const [group, tree] of Object.entries(state)) flattening.addGroup(group, tree);
  return flattening.finish();
}

class Flattening {
  readonly #paths: Recurring<Path>;
  readonly #leaves: Recurring<Leaf>;
  readonly #tensors: unknown[] = [];
  readonly #owners: Owners;
  readonly #ties: Ties;
  /** The containers that the one at hand lies in. */
  readonly #above: unknown[] = [];

  constructor(
    private readonly backends: readonly Backend[],
    private readonly before: StateForm | undefined,
  ) {
    this.#paths = new Recurring(before?.paths);
    this.#leaves = new Recurring(before?.leaves);
    this.#owners = before?.owners ?? new WeakMap();
    this.#ties = new Ties(this.#owners, (index) => this.#placeOf(index));
  }

  addGroup(group: string, tree: unknown): void {
    if (this.#backendOf(tree)) throw invalid(group, "is a tensor; a group holds named tensors");
    this.#addChildren(tree, this.#pathOf(undefined, group));
  }

  finish(): FlatState {
    const { before } = this;
    const paths = this.#paths.finish();
    const leaves = this.#leaves.finish();
    const same = before && paths === before.paths && leaves === before.leaves;
    if (!same) checkKeys(leaves);
    return { form: same ? before : new StateForm(paths, leaves, this.#owners), tensors: this.#tensors };
  }

  /** Depth first. Tensors may look like containers, so whether it is one is asked first. */
  #add(value: unknown, path: Path): void {
    const backend = this.#backendOf(value);
    if (backend) this.#addLeaf(value, path, backend);
    else this.#addChildren(value, path);
  }

  #addLeaf(tensor: unknown, path: Path, backend: Backend): void {
    const known = this.#leaves.known;
    const said = describe(backend, tensor, path); // before anybody else looks at it: this names the path
    const spec = known && sameSpec(known.spec, said) ? known.spec : said;
    const tiedTo = this.#firstOf(tensor, backend, spec);
    const index = this.#tensors.push(tensor) - 1;
    const same = known?.path === path && known.backend === backend && known.tiedTo === tiedTo;
    if (same && known.spec === spec) {
      this.#leaves.keep();
      return;
    }
    const { group, name } = path;
    if (!isTensorName(name)) throw invalid(path, "has a name that safetensors cannot hold");
    const key = tensorKey(group, name);
    // It is kept: a backend may have given the tensor's own, which may change.
    const own = { dtype: spec.dtype, shape: [...spec.shape] };
    this.#leaves.add({ path, index, key, group, name, backend, spec: own, tiedTo });
  }

  /** The leaf of the same tensor that came first. */
  #firstOf(tensor: unknown, backend: Backend, spec: TensorSpec): Leaf | undefined {
    const { memory, offset } = identify(backend, tensor);
    const first = this.#ties.firstOf(this.#tensors.length, memory, offset, spec);
    return first === undefined ? undefined : this.#leaves.at(first);
  }

  #placeOf(index: number): Place | undefined {
    const leaf = this.#leaves.at(index);
    return leaf && { ...identify(leaf.backend, this.#tensors[index]), spec: leaf.spec };
  }

  #addChildren(value: unknown, path: Path): void {
    if (this.#above.includes(value)) throw invalid(path, "contains itself");
    if (this.#above.length > MAX_DEPTH)
      throw invalid(`${path.group}: ${path.steps[0]} → …`, `is nested more than ${MAX_DEPTH} deep`);
    this.#above.push(value);
    if (Array.isArray(value)) {
      for (let i = 0; i < value.length; i++) this.#add(value[i], this.#pathOf(path, i));
    } else if (value instanceof Map) {
      for (const [key, child] of value) this.#add(child, this.#pathOf(path, String(key)));
    } else if (isPlainObject(value)) {
      for (const key of Object.keys(value)) this.#add(value[key], this.#pathOf(path, key));
    } else throw invalid(path, refusal(value));
    this.#above.pop();
  }

  #pathOf(parent: Path | undefined, step: string | number): Path {
    const known = this.#paths.known;
    if (known?.parent === parent && known?.step === step) {
      this.#paths.keep();
      return known;
    }
    const path = new Path(parent, step);
    this.#paths.add(path);
    return path;
  }

  #backendOf(value: unknown): Backend | undefined {
    for (const backend of this.backends) if (backend.accepts(value)) return backend;
    return undefined;
  }
}

export function isPlainObject(value: unknown): value is Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/** A tensor of a backend that does not say is only tied to itself. */
function identify(backend: Backend, tensor: unknown): Identity {
  return backend.identify?.(tensor) ?? { memory: Object(tensor), offset: 0 };
}

function describe(backend: Backend, tensor: unknown, path: Path): TensorSpec {
  try {
    const spec = backend.describe(tensor);
    byteLength(spec);
    return spec;
  } catch (cause) {
    throw new HoldfastError("INVALID_STATE", `${path}: ${messageOf(cause)}`, { cause });
  }
}

function checkKeys(leaves: readonly Leaf[]): void {
  const keys = new Set<string>();
  for (const { key, path, name } of leaves) {
    if (keys.has(key)) throw invalid(path, `has the name ${name}, as another tensor of the group has`);
    keys.add(key);
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

function invalid(where: Path | string, rule: string): HoldfastError {
  return new HoldfastError("INVALID_STATE", `${where} ${rule}`);
}
