/** What lies in a root. */
import { parseId, type StoredCheckpoint } from "@holdfast/core";
import { type Container, type Shape, shapesOf } from "./container";
import { type Entry, ifPresent } from "./file-ops";
import { ATTEMPT_PREFIX, isPlainName } from "./names";
import type { Root } from "./root";

type State = StoredCheckpoint["state"];

/** Checkpoints with a commit record; with `all`, every other entry of those kinds too, attempts among them. */
export async function listCheckpoints(
  root: Root,
  container: Container,
  all: boolean,
): Promise<readonly StoredCheckpoint[]> {
  await root.check(); // a root that vanished under us is not empty
  const entries = (await ifPresent(root.ops.readdir(root.path))) ?? [];
  const shapes = [...shapesOf(container)];
  const listed: StoredCheckpoint[] = [];
  for (const entry of entries) {
    const { name, kind } = entry;
    if (name.startsWith(ATTEMPT_PREFIX)) {
      const ours = async (shape: Shape) => shape.kind === kind && (await shape.owns(root, name));
      const found = all ? await Promise.all(shapes.map(ours)) : [];
      if (found.includes(true)) listed.push({ id: name, state: "in-progress" });
      continue;
    }
    for (const shape of shapes) {
      const id = idOf(entry, shape);
      const state = id === undefined ? undefined : await stateOf(root, shape, name, id, all);
      if (id !== undefined && state) listed.push({ id, state });
    }
  }
  return listed;
}

/** What a checkpoint of this shape is called, if its name can be one. */
function idOf({ name, kind }: Entry, { kind: wanted, suffix }: Shape): string | undefined {
  if (kind !== wanted || !name.endsWith(suffix)) return undefined;
  const id = name.slice(0, name.length - suffix.length);
  return isPlainName(id) ? id : undefined;
}

/** Undefined for what is not listed. */
async function stateOf(
  root: Root,
  shape: Shape,
  name: string,
  id: string,
  all: boolean,
): Promise<State | undefined> {
  const isOurs = parseId(id) !== undefined;
  if (!(isOurs || all) || !(await shape.owns(root, name))) return undefined;
  if (!isOurs) return "foreign";
  if (await shape.hasRecord(root, name)) return "committed";
  // Without a record it is broken, unless it was deleted while we looked.
  return all && (await ifPresent(root.ops.lstat(root.at(name)))) ? "broken" : undefined;
}
