/** Whether the ranks of an attempt have written one checkpoint: what rank 0 asks before it commits. */
import type { Gathered } from "../commit";
import { HoldfastError } from "../errors";
import { decodeManifest, MANIFEST_FILE, type Manifest } from "../manifest";
import { type Attempt, rankPrefix } from "../sink";
import { BOOSTR_META_FILE, encodeBoostrMeta } from "./boostr-meta";
import { boostrSchemeOf } from "./boostr-scheme";
import { joinManifests } from "./join";

interface Heard {
  readonly bytes: Uint8Array;
  readonly manifest: Manifest;
}

export class Agreement {
  readonly #heard = new Map<number, Heard>();

  constructor(private readonly attempt: Attempt) {}

  has(rank: number): boolean {
    return this.#heard.has(rank);
  }

  get isComplete(): boolean {
    return this.#heard.size === this.attempt.worldSize;
  }

  /** @throws HoldfastError `RANKS_DISAGREE` if a rank saves something else */
  add(rank: number, bytes: Uint8Array): void {
    const { runId, step, worldSize } = this.attempt;
    const manifest = decodeManifest(bytes, rankPrefix(rank, worldSize) + MANIFEST_FILE);
    this.#expect(rank, "the world size", manifest.worldSize, worldSize);
    if (manifest.step !== step) {
      const apart = `the step of rank ${rank} is ${manifest.step}, and that of rank 0 is ${step}`;
      throw disagree(
        step,
        `${apart}. If that goes on, one of them has called save more often: launch all anew`,
      );
    }
    this.#expect(rank, "the number", manifest.rank, rank);
    this.#expect(rank, "the runId", manifest.runId, runId);
    if (rank >= worldSize) throw disagree(step, `rank ${rank} is none of ${worldSize} ranks`);
    const [first] = this.#heard;
    if (first) {
      const [other, { manifest: theirs }] = first;
      const with0 = (what: string, own: unknown, known: unknown) =>
        this.#expect(rank, what, own, known, other);
      with0("the policy", manifest.sharding?.policy, theirs.sharding?.policy);
      with0("the digest", manifest.digest, theirs.digest);
      if (manifest.sharding?.form !== theirs.sharding?.form) {
        const rule = `the names, dtypes or shapes of rank ${rank}'s state are not those of rank ${other}'s`;
        throw disagree(step, rule);
      }
    }
    this.#heard.set(rank, { bytes, manifest });
  }

  /**
   * What there is to commit; with it goes what boostr needs to read it, if it can. None of `held` may be missing.
   * @throws HoldfastError `RANKS_DISAGREE` if they leave a hole, or have written something twice
   */
  whole(held: Iterable<string>): Gathered {
    const byRank = [...this.#heard].sort(([a], [b]) => a - b).map(([, heard]) => heard);
    const manifests = byRank.map(({ manifest }) => manifest);
    const joined = joinManifests(manifests, (rule, cause) => disagree(this.attempt.step, rule, cause));
    for (const key of held)
      if (!joined.has(key)) throw disagree(this.attempt.step, `no rank has written ${key}`);
    const parts = byRank.map(({ bytes: encoded, manifest: { files, tensors } }) => ({
      encoded,
      bytes: files.reduce((total, { byteLength }) => total + byteLength, encoded.byteLength),
      groups: [...new Set(tensors.map(({ group }) => group))],
    }));
    const scheme = boostrSchemeOf(manifests);
    return { parts, beside: scheme ? [{ path: BOOSTR_META_FILE, bytes: encodeBoostrMeta(scheme) }] : [] };
  }

  #expect(rank: number, what: string, own: unknown, expected: unknown, other = 0): void {
    if (own === expected) return;
    throw disagree(
      this.attempt.step,
      `${what} of rank ${rank} is ${own}, and that of rank ${other} is ${expected}`,
    );
  }
}

function disagree(step: number, rule: string, cause?: unknown): HoldfastError {
  return new HoldfastError("RANKS_DISAGREE", `step ${step}: ${rule}`, { cause });
}
