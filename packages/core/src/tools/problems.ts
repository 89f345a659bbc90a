/** All that is wrong with a checkpoint: damaged blocks become one problem for each tensor. */
import type { ErrorCode, HoldfastError } from "../errors";
import type { Place, Report } from "../faults";
import { corrupt } from "../fields";
import { tensorKey } from "../manifest";

export interface Problem {
  readonly code: ErrorCode;
  /** Names the checkpoint, the file, the tensor and the rule. */
  readonly message: string;
  /** The file, relative to the checkpoint; undefined if it is about all of it. */
  readonly path: string | undefined;
  /** Under the name by which it was stored. */
  readonly tensor: { readonly group: string; readonly name: string } | undefined;
}

/** A tensor some of whose blocks are damaged. */
interface Damaged {
  readonly place: Place;
  /** Of the first that was found. */
  readonly fault: HoldfastError;
  blocks: number;
  start: number;
  end: number;
}

export class Problems {
  readonly #problems: Problem[] = [];
  readonly #damaged = new Map<string, Damaged>();

  constructor(private readonly id: string) {}

  readonly report: Report = (fault, place) => {
    const { tensor, block } = place;
    if (!tensor || !block) {
      this.#problems.push(problemOf(fault, place));
      return;
    }
    // Of each rank's part by itself.
    const key = `${place.path}: ${tensorKey(tensor.group, tensor.name)}`;
    const before = this.#damaged.get(key);
    if (before) {
      before.blocks++;
      before.start = Math.min(before.start, block.start);
      before.end = Math.max(before.end, block.end);
    } else {
      this.#damaged.set(key, { place, fault, blocks: 1, start: block.start, end: block.end });
    }
  };

  /** In the order in which they were found. */
  all(): readonly Problem[] {
    const damaged = [...this.#damaged].map(([key, found]) =>
      problemOf(this.#faultOf(key, found), found.place),
    );
    return [...this.#problems, ...damaged];
  }

  #faultOf(key: string, { place, fault, blocks, start, end }: Damaged): HoldfastError {
    if (blocks === 1) return fault; // it says which bytes
    const rule = `${blocks} of its ${place.block?.of} blocks, between the bytes ${start} and ${end} of it, do not have the digests that the manifest names`;
    return corrupt(`${this.id}/${key}`, `is damaged: ${rule}`);
  }
}

function problemOf({ code, message }: HoldfastError, { path, tensor }: Place): Problem {
  return { code, message, path, tensor: tensor && { group: tensor.group, name: tensor.name } };
}
