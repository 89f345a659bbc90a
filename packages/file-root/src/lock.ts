/**
 * One writer for a root at a time.
 *
 * The lock is the file `.lock-N` with the highest N, its generation. To take it over (from a process that
 * died or gave it back) is to create generation N + 1, which only one process can do, and then to see that
 * there is none above. To give it back is to mark one's own generation; nothing is unlocked by removing.
 *
 * Why two processes never both hold it:
 * 1. A file is removed only by one who has seen a higher one. So the highest generation never falls, and
 *    whoever creates N + 1 late, after it was taken, given back and removed, finds a higher one and backs off.
 * 2. Say that P holds N: it listed N as the highest after creating it. Then, by 1, no higher one had existed
 *    before. So whoever creates a higher one later has listed N as the highest, and has found its owner
 *    dead, or its mark. Two processes that both created N cannot be: the second gets EEXIST, or, by 1,
 *    finds a higher one when it lists.
 * 3. What a process reads of a generation is complete, because a file gets its name when it is written.
 *    (On file systems without hard links it may be incomplete: then it counts as held until it is old.)
 * 4. A listing need not be atomic: one that runs while 7 is removed and 8 is created may show neither. So
 *    the holder leaves its predecessor. To miss two at once, a listing, which is one system call for up to
 *    a thousand names, would have to outlast two takeovers with a sync each.
 *
 * What remains is to tell whether an owner is dead. On its own machine the process table says so. Elsewhere
 * an owner counts as dead when it has not been heard of for `SILENCE_MS`; should it have been asleep, it
 * looks before it commits whether its generation still is the highest.
 */
import { HoldfastError } from "@holdfast/core";
import { ifPresent, type OpenFile, readSmallFile, writeFully } from "./file-ops";
import {
  createGeneration,
  fileSystemTime,
  generationPath,
  giveBack,
  givenUp,
  giveUp,
  highestGeneration,
  removeGenerationsBelow,
} from "./generations";
import { decodeLock, HELD, MARK_AT, MAX_LOCK_BYTES } from "./lock-file";
import { formatOwner, livenessOf, type Owner } from "./owner";
import type { Root } from "./root";

const HEARTBEAT_MS = 10_000;
/** Six heartbeats. They come from the sink's own thread, whatever the trainer does with its event loop. */
const SILENCE_MS = 60_000;
/** Each further round means that somebody else took the lock and gave it back meanwhile. */
const MAX_ROUNDS = 100;

export class RootLock {
  readonly #heartbeat: NodeJS.Timeout;
  #beat: Promise<unknown> = Promise.resolve();

  private constructor(
    private readonly root: Root,
    private readonly generation: number,
    private readonly file: OpenFile,
    private readonly nonce: string,
  ) {
    this.#heartbeat = setInterval(() => this.#refresh(), HEARTBEAT_MS).unref();
  }

  /**
   * Takes the lock for `self`, an owner that has held none before.
   * @throws HoldfastError `ROOT_LOCKED`, naming who holds it
   */
  static async acquire(root: Root, self: Owner): Promise<RootLock> {
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const highest = await highestGeneration(root);
      if (!(await isFree(root, highest, self))) continue;
      const generation = highest + 1;
      const file = await createGeneration(root, generation, self);
      if (!file) continue;
      try {
        if ((await highestGeneration(root)) === generation) {
          await removeGenerationsBelow(root, generation - 1);
          return new RootLock(root, generation, file, self.nonce);
        }
        await root.ops.remove(generationPath(root, generation));
      } catch (error) {
        await giveUp(file, self.nonce);
        throw error;
      }
      await file.close();
    }
    throw new HoldfastError("ROOT_LOCKED", `${root.path}: too many processes take turns at its lock`);
  }

  /** Whether nobody has taken it over. */
  async isHeld(): Promise<boolean> {
    if ((await highestGeneration(this.root)) !== this.generation) return false;
    // Somebody may have removed all locks by hand, and somebody else begun to count anew.
    const path = generationPath(this.root, this.generation);
    const content = await ifPresent(readSmallFile(this.root.ops, path, MAX_LOCK_BYTES));
    return content !== undefined && decodeLock(content)?.owner.nonce === this.nonce;
  }

  /** Gives it back. */
  async release(): Promise<void> {
    clearInterval(this.#heartbeat);
    await this.#beat;
    await giveBack(this.file, this.nonce);
  }

  /** Writing what is there already sets the time of modification, by the file system's own clock. */
  #refresh(): void {
    this.#beat = this.#beat.then(() => writeFully(this.file, HELD, MARK_AT)).catch(() => {}); // one beat less: should they all fail, the check before the commit notices
  }
}

/**
 * Whether generation `highest` can be succeeded; false to look again, because it has vanished.
 * @throws HoldfastError `ROOT_LOCKED`
 */
async function isFree(root: Root, highest: number, self: Owner): Promise<boolean> {
  if (highest === 0) return true;
  const path = generationPath(root, highest);
  const content = await ifPresent(readSmallFile(root.ops, path, MAX_LOCK_BYTES));
  if (!content) return false;
  const lock = decodeLock(content);
  if (lock && (!lock.held || givenUp.has(lock.owner.nonce))) return true;
  // A round before this one created it, though the storage said that it had not (NFS, when an answer is lost).
  if (lock?.owner.nonce === self.nonce) return true;
  const liveness = lock ? await livenessOf(lock.owner, self) : "elsewhere";
  if (liveness === "dead") return true;
  if (liveness === "elsewhere") {
    const now = await fileSystemTime(root);
    const stat = await ifPresent(root.ops.lstat(path));
    if (!stat) return false;
    if (now - stat.modifiedMs > SILENCE_MS) return true;
  }
  const holder = lock ? formatOwner(lock.owner) : "a process that has not signed its lock yet";
  const advice =
    liveness === "alive" && lock?.owner.pid === self.pid
      ? "That is this process: close its other sink first"
      : `Use another root, or stop that process; had it died on another host, wait ${SILENCE_MS / 1000} s`;
  throw new HoldfastError("ROOT_LOCKED", `${root.path} is being written to by ${holder}. ${advice}.`);
}
