/** What the result is called, where the caller says so. */
import { formatId, parseId } from "../../checkpoint-id";
import { HoldfastError } from "../../errors";
import { listAll } from "../../open-checkpoint";
import { isSafeName } from "../../paths";
import type { Target } from "../../save";
import type { Sink } from "../../sink";
import type { Stored } from "../../stored";
import type { Format } from "./formats";

/** Where the result goes. */
export interface Destination {
  readonly sink: Sink;
  /**
   * Default: the next free revision of the checkpoint's step. In others' formats, which are no checkpoints of ours:
   * the source's id and the format's name, `step-00000100-hf`.
   */
  readonly id?: string | undefined;
}

/**
 * Undefined if it is to be the next free revision.
 * @throws HoldfastError `INVALID_ARGUMENT` for a name that it cannot have; `CHECKPOINT_EXISTS`
 */
export async function targetOf(
  { sink, id: wanted }: Destination,
  { id: source, step, record }: Stored,
  { name, sealed }: Format,
  signal: AbortSignal | undefined,
): Promise<Target | undefined> {
  const id = wanted ?? (sealed ? undefined : `${source}-${name}`);
  if (id === undefined) return undefined;
  if (!isSafeName(id)) {
    throw new HoldfastError(
      "INVALID_ARGUMENT",
      `${JSON.stringify(id)} cannot be a checkpoint's id: use letters, digits, _, - and ., at most 200 of them`,
    );
  }
  const parsed = parseId(id);
  if (sealed && parsed && parsed.step !== step) {
    throw new HoldfastError(
      "INVALID_ARGUMENT",
      `${source} is of step ${step} and cannot be called ${id}: call it ${formatId({ ...parsed, step })}`,
    );
  }
  const taken = sink.capabilities.list && (await listAll(sink, signal)).some((stored) => stored.id === id);
  if (taken) {
    throw new HoldfastError(
      "CHECKPOINT_EXISTS",
      `${sink.name} has ${id}: convert to another id, or delete it`,
    );
  }
  return { id, revision: (parsed ?? record ?? parseId(source))?.revision ?? 1 };
}
