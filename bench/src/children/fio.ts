/** fio, direct, two writes of 8 MiB in flight, ended by fsync. */
import { join } from "node:path";
import { answer } from "../kit/child";
import { removeFully } from "../kit/durable";
import { runTool } from "../kit/tool";
import { type Warming, warmed } from "../kit/warmed";
import { median } from "../statistics";

export interface FioOptions extends Warming {
  readonly bytes: number;
}

await answer<FioOptions>(async (options) => {
  const path = join(options.dir, "fio");
  const job = ["--name=bench", `--filename=${path}`, `--size=${options.bytes}`, "--rw=write", "--bs=8M"];
  const how = ["--direct=1", "--ioengine=libaio", "--iodepth=2", "--end_fsync=1", "--fallocate=none"];
  const runs = await warmed(options, async () => {
    const result = await runTool("fio", [...job, ...how, "--output-format=json"]);
    await removeFully(path);
    return result;
  });
  const speeds: number[] = [];
  for (const run of runs) {
    if (run === "absent") return { skip: "fio is not installed" };
    speeds.push(speedOf(run.out));
  }
  return { gbPerS: median(speeds) };
});

/** By fio's own clock, because the program itself takes long to start. */
function speedOf(report: string): number {
  const { jobs } = JSON.parse(report) as { jobs: { job_runtime: number; write: { io_bytes: number } }[] };
  const [job] = jobs;
  if (!job) throw new Error("fio reports no job");
  return job.write.io_bytes / 1e6 / job.job_runtime;
}
