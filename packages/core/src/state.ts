/**
 * A state is named groups of tensors, each a tree: objects, arrays and Maps, whose leaves a backend accepts.
 * flatten.ts makes a flat list of it, in two parts: the tensors, and its form, which is all the rest.
 */
import type { Backend } from "./backend";
import { Lookup } from "./lookup";
import { inFileOrder } from "./safetensors/layout";
import type { TensorSpec } from "./tensor";
import type { Owners } from "./ties";

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

/** Where something lies in a state: a step from what it lies in. A group has no parent. */
export class Path {
  readonly group: string;
  /** The steps within the group, joined with `.`: a tensor's name. */
  readonly name: string;

  constructor(
    readonly parent: Path | undefined,
    /** A key, or an index. */
    readonly step: string | number,
  ) {
    this.group = parent ? parent.group : String(step);
    this.name = parent?.parent ? `${parent.name}.${step}` : parent ? String(step) : "";
  }

  /** The steps within the group, from the top. */
  get steps(): readonly (string | number)[] {
    return this.parent ? [...this.parent.steps, this.step] : [];
  }

  /** For messages: `model: layers → 0 → bias`. */
  toString(): string {
    return this.parent ? `${this.group}: ${this.steps.join(" → ")}` : this.group;
  }
}

/** One name of one tensor. */
export interface Leaf {
  readonly path: Path;
  /** Its place among the leaves of its state. */
  readonly index: number;
  /** `group/name`. */
  readonly key: string;
  readonly group: string;
  readonly name: string;
  readonly backend: Backend;
  readonly spec: TensorSpec;
  /** The first name of the same tensor, if this is not the first. */
  readonly tiedTo: Leaf | undefined;
}

/**
 * All of a state but its tensors. It is the same object from save to save for as long as nothing of it
 * changes, so that whatever follows from it alone (see layout.ts) is worked out once.
 */
export class StateForm {
  #stored: Stored | undefined;

  constructor(
    /** Containers and tensors, in the order in which they are visited. */
    readonly paths: readonly Path[],
    /** Every name, in the state's own order. */
    readonly leaves: readonly Leaf[],
    readonly owners: Owners,
  ) {}

  get groups(): readonly string[] {
    return this.paths.filter(({ parent }) => !parent).map(({ group }) => group);
  }

  /**
   * What has to be stored, each tensor once, by backend, in the order in which files hold it: a
   * backend that packs its tensors in this order has a chunk's bytes side by side.
   */
  get stored(): Stored {
    this.#stored ??= storedByBackend(this);
    return this.#stored;
  }
}

export interface FlatState {
  readonly form: StateForm;
  /** The tensor of each of the form's leaves. */
  readonly tensors: readonly unknown[];
}

type Stored = ReadonlyMap<Backend, Lookup<Leaf>>;

function storedByBackend({ groups, leaves }: StateForm): Stored {
  const byGroup = new Map<string, Leaf[]>(groups.map((group) => [group, []]));
  for (const leaf of leaves) if (!leaf.tiedTo) byGroup.get(leaf.group)?.push(leaf);
  const byBackend = new Map<Backend, Leaf[]>();
  for (const named of byGroup.values()) {
    for (const leaf of inFileOrder(named)) {
      const others = byBackend.get(leaf.backend);
      if (others) others.push(leaf);
      else byBackend.set(leaf.backend, [leaf]);
    }
  }
  return new Map([...byBackend].map(([backend, leaves]) => [backend, new Lookup(leaves)]));
}
