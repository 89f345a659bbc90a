/** What the archive was unpacked on, looked at before anything is measured. */
import { availableParallelism, cpus, release, totalmem, type } from "node:os";
import { fileURLToPath } from "node:url";
import { messageOf } from "../../src/command-line";
import { runTool } from "../../src/kit/tool";
import type { Machine } from "../../src/machine";
import { GiB } from "../../src/measure";
import { Cuda } from "./kit/driver";

export interface Gpu {
  readonly lines: Machine;
  /** Of its memory, by now. */
  freeBytes(): number;
}

/** @throws Error if there is no driver, or it finds no device */
export function describeGpu(): Gpu {
  const cuda = new Cuda();
  const device = Number(cuda.out("cuDeviceGet", 0));
  cuda.call("cuCtxPushCurrent_v2", cuda.out("cuDevicePrimaryCtxRetain", device));
  const name = Buffer.alloc(128);
  cuda.call("cuDeviceGetName", name, name.length, device);
  const [free, total] = [new BigUint64Array(1), new BigUint64Array(1)];
  const freeBytes = () => {
    cuda.call("cuMemGetInfo_v2", free, total);
    return Number(free[0]);
  };
  freeBytes();
  const version = Number(cuda.out("cuDriverGetVersion"));
  const gib = (bytes: bigint | undefined) => (Number(bytes) / GiB).toFixed(1);
  return {
    lines: [
      ["GPU", name.toString().replace(/\0.*/s, "")],
      ["device memory", `${gib(total[0])} GiB, ${gib(free[0])} free`],
      ["CUDA driver", `${Math.floor(version / 1000)}.${Math.floor((version % 1000) / 10)}`],
    ],
    freeBytes,
  };
}

export function describeHost(fileSystem: string): Machine {
  return [
    ["CPU", `${cpus()[0]?.model.trim() ?? "unknown"}, ${availableParallelism()} cores`],
    ["memory", `${(totalmem() / GiB).toFixed(1)} GiB`],
    ["system", `${type()} ${release()}`],
    ["Node", process.version],
    ["file system", fileSystem],
    ["date", new Date().toISOString().slice(0, 16).replace("T", " ")],
  ];
}

/** To import torch and JAX may take a while; a Python that hangs must not hold the rest. */
const PROBE_MS = 60_000;

/** What Python has of what we compare with: `2.9.0, CUDA 12.8`; or that it has not. */
export async function describePeers(python: string): Promise<Machine> {
  const script = fileURLToPath(new URL("./python/probe.py", import.meta.url));
  try {
    const run = await runTool(python, [script], PROBE_MS);
    if (run === "absent") return [["Python", `there is no ${python}`]];
    const found: Record<string, string> = JSON.parse(run.out.trimEnd().split("\n").at(-1) ?? "");
    return Object.entries(found);
  } catch (error) {
    return [["Python", `${python} does not work: ${messageOf(error)}`]];
  }
}
