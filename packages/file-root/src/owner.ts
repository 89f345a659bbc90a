/** Who holds a lock, and whether that process still lives. */
import { randomBytes } from "node:crypto";
import { readFile, readlink } from "node:fs/promises";
import { hostname } from "node:os";

/** A process, so described that no other can be taken for it. `null` is what the platform does not tell. */
export interface Owner {
  readonly host: string;
  /** New at each boot (Linux). */
  readonly boot: string | null;
  /** Pids mean something within one namespace only (Linux). */
  readonly pidNamespace: string | null;
  readonly pid: number;
  /** When the process started, in the kernel's ticks: a pid that was given out again has another (Linux). */
  readonly started: string | null;
  /** When it took the lock, by its own clock: for messages only. */
  readonly since: string;
  /** Tells apart the sinks of one process. */
  readonly nonce: string;
}

/** This process, as one owner among those that it may have: each sink is one. */
export async function describeOwner(nonce = newNonce()): Promise<Owner> {
  return {
    host: hostname(),
    boot: await readFile("/proc/sys/kernel/random/boot_id", "utf8").then((id) => id.trim(), absent),
    pidNamespace: await readlink("/proc/self/ns/pid").catch(absent),
    pid: process.pid,
    started: (await processOf(process.pid))?.started ?? null,
    since: new Date().toISOString(),
    nonce,
  };
}

export function newNonce(): string {
  return randomBytes(8).toString("hex");
}

/**
 * Whether `owner` lives, as far as the process tables tell: `elsewhere` if it is of another host, boot or
 * pid namespace, which ours knows nothing of.
 */
export async function livenessOf(owner: Owner, self: Owner): Promise<"alive" | "dead" | "elsewhere"> {
  const near =
    owner.host === self.host && owner.boot === self.boot && owner.pidNamespace === self.pidNamespace;
  if (!near) return "elsewhere";
  const found = await processOf(owner.pid);
  // No `/proc`, or one that hides the processes of others.
  if (!found || owner.started === null) return answersSignals(owner.pid) ? "alive" : "dead";
  return found.started === owner.started && !found.ended ? "alive" : "dead";
}

/** For messages: `pid 4711 on node3 since 2026-05-01T12:00:00.000Z`. */
export function formatOwner({ pid, host, since }: Owner): string {
  return `pid ${pid} on ${host} since ${since}`;
}

/** Checks what was read from a lock. */
export function isOwner(value: unknown): value is Owner {
  if (typeof value !== "object" || value === null) return false;
  const fields: Record<string, unknown> = { ...value };
  const isText = (name: string) => typeof fields[name] === "string";
  const isTextOrNull = (name: string) => isText(name) || fields[name] === null;
  return (
    ["host", "since", "nonce"].every(isText) &&
    ["boot", "pidNamespace", "started"].every(isTextOrNull) &&
    Number.isSafeInteger(fields.pid) &&
    Number(fields.pid) > 0
  );
}

/** From `/proc`; undefined if there is no such process, or no `/proc`. Source: proc_pid_stat(5). */
async function processOf(pid: number): Promise<{ started: string; ended: boolean } | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(absent);
  if (stat === null) return undefined;
  // The second field is the command in parentheses, which may itself hold blanks and parentheses.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [state = "", threads = ""] = [fields[0], fields[17]];
  // Killed, but not yet waited for by its parent: such a process does nothing any more, once its last
  // thread is gone. Before that, one of them may still be within a system call.
  return { started: fields[19] ?? "", ended: (state === "Z" || state === "X") && Number(threads) <= 1 };
}

function answersSignals(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // EPERM: it is there, and somebody else's.
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}

function absent(): null {
  return null;
}
