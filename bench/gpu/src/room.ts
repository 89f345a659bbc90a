/** What contestants take of the machine, asked for right before each one: too little of it is a row that says so. */
import { readFile, statfs } from "node:fs/promises";
import { totalmem } from "node:os";
import { setTimeout } from "node:timers/promises";
import type { Contestant, Room } from "../../src/measure";

/** Contexts, programs and pools, however small a state is. */
const FIXED: Room = { disk: 64e6, device: 512e6, host: 1e9 };

/** For a state of so many bytes: how many times that. A state is not quite of the size that it is asked to be. */
export function roomFor(bytes: number, { disk = 0, device = 0, host = 0 }: Partial<Room>): Room {
  const size = 1.1 * bytes;
  return { disk: disk * size, device: device * size, host: host * size };
}

/** So long after it was killed a program has surely given back what it had. */
const SETTLED_MS = 1000;

/** Why there is no room for a contestant; undefined if there is. */
export async function lackOfRoom(
  { room }: Contestant,
  dir: string,
  freeDevice: () => number,
): Promise<string | undefined> {
  if (!room) return undefined;
  const lack = async () => lackOf(room, await freeRoom(dir, freeDevice), dir);
  if ((await lack()) === undefined) return undefined;
  await setTimeout(SETTLED_MS); // the one before may have been killed
  return lack();
}

function lackOf(room: Room, free: Room, dir: string): string | undefined {
  const names = { disk: `on the disk (${dir})`, device: "of device memory", host: "of memory" };
  for (const kind of ["disk", "device", "host"] as const) {
    const needed = FIXED[kind] + room[kind];
    if (room[kind] > 0 && free[kind] < needed)
      return `it needs ${gb(needed)} ${names[kind]}, and ${gb(free[kind])} is free`;
  }
  return undefined;
}

async function freeRoom(dir: string, freeDevice: () => number): Promise<Room> {
  return { disk: await freeDisk(dir), device: freeDevice(), host: await freeMemory() };
}

async function freeDisk(dir: string): Promise<number> {
  const { bavail, bsize } = await statfs(dir);
  return bavail * bsize;
}

/** What the system could give, up to what a container may have. What its page cache takes can be taken back. */
async function freeMemory(): Promise<number> {
  const kib = /^MemAvailable:\s+(\d+) kB$/m.exec(await readFile("/proc/meminfo", "utf8"))?.[1];
  const limit = process.constrainedMemory() || totalmem();
  return Math.min(kib === undefined ? totalmem() : Number(kib) * 1024, limit);
}

function gb(bytes: number): string {
  return `${(bytes / 1e9).toFixed(1)} GB`;
}
