/** `dd`, of zeros, ended by fsync: what the machine's own tool gets out of the disk. */
import { join } from "node:path";
import { answer, gbPerS } from "../kit/child";
import { removeFully, syncDirectoryOf } from "../kit/durable";
import { runTool } from "../kit/tool";
import { type Warming, warmed } from "../kit/warmed";
import { MiB } from "../measure";
import { median } from "../statistics";

export interface DdOptions extends Warming {
  readonly bytes: number;
  readonly direct: boolean;
}

await answer<DdOptions>(async (options) => {
  const path = join(options.dir, "dd");
  const args = [
    "if=/dev/zero",
    `of=${path}`,
    "bs=16M",
    `count=${Math.ceil(options.bytes / (16 * MiB))}`,
    "conv=fsync",
  ];
  if (options.direct) args.push("oflag=direct");
  const runs = await warmed(options, async () => {
    const result = await runTool("dd", args);
    if (result !== "absent") await syncDirectoryOf(path);
    await removeFully(path);
    return result;
  });
  const times: number[] = [];
  for (const run of runs) {
    if (run === "absent") return { skip: "dd is not installed" };
    times.push(run.ms);
  }
  const written = Math.ceil(options.bytes / (16 * MiB)) * 16 * MiB;
  return { gbPerS: gbPerS(written, median(times)) };
});
