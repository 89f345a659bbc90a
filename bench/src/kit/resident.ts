import { readFileSync, writeFileSync } from "node:fs";

/**
 * The most memory that this process had resident since `resetPeak`, in bytes. The kernel keeps it, so that no
 * moment is missed. Undefined where there is no /proc (only Linux has it).
 */
export function peakResident(): number | undefined {
  try {
    const kib = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
    return kib === undefined ? undefined : Number(kib) * 1024;
  } catch {
    return undefined;
  }
}

/** Source: Linux, Documentation/filesystems/proc.rst, on clear_refs. */
export function resetPeak(): void {
  try {
    writeFileSync("/proc/self/clear_refs", "5");
  } catch {
    // peakResident will say that there is none.
  }
}
