/** `tar -cf` of the checkpoint that lies there, and `sync` of the archive: what makes one without Holdfast. */
import { join } from "node:path";
import { answer, gbPerS } from "../kit/child";
import { removeFully, syncDirectoryOf } from "../kit/durable";
import { cacheFiles, dataFiles } from "../kit/page-cache";
import { runTool } from "../kit/tool";
import { type Warming, warmed } from "../kit/warmed";
import { median } from "../statistics";

await answer<Warming>(async (options) => {
  const root = join(options.dir, "checkpoints");
  const files = await dataFiles(root);
  await cacheFiles(files);
  const archive = join(options.dir, "archive.tar");
  const runs = await warmed(options, async () => {
    const startedAt = performance.now();
    const made = await runTool("tar", ["-cf", archive, "-C", root, "step-00000001"]);
    if (made === "absent") return "absent";
    await runTool("sync", [archive]);
    await syncDirectoryOf(archive);
    const ms = performance.now() - startedAt;
    await removeFully(archive);
    return ms;
  });
  const times = runs.filter((run) => run !== "absent");
  if (times.length < runs.length) return { skip: "tar is not installed" };
  const bytes = files.reduce((sum, { byteLength }) => sum + byteLength, 0);
  return { gbPerS: gbPerS(bytes, median(times)) };
});
