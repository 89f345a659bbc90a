/** What the figures were measured on. */
import { execFileSync } from "node:child_process";
import { availableParallelism, cpus, release, totalmem, type } from "node:os";
import { fileURLToPath } from "node:url";
import { GiB } from "./measure";

/** Lines of `what: value`. */
export type Machine = readonly (readonly [what: string, value: string])[];

export function describeMachine(fileSystem: string): Machine {
  return [
    ["CPU", `${cpus()[0]?.model.trim() ?? "unknown"}, ${availableParallelism()} cores`],
    ["memory", `${(totalmem() / GiB).toFixed(1)} GiB`],
    ["system", `${type()} ${release()}`],
    ["Node", process.version],
    ["file system", fileSystem],
    ["WebGPU", adapter()],
    ["date", new Date().toISOString().slice(0, 16).replace("T", " ")],
    ["commit", commit()],
  ];
}

/** The commit that is measured; `+` if files were changed since. */
function commit(): string {
  const git = (...args: string[]) =>
    execFileSync("git", args, {
      cwd: fileURLToPath(new URL(".", import.meta.url)),
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }).trim();
  try {
    const changed = git("status", "--porcelain", "--untracked-files=no") !== "";
    return `${git("rev-parse", "--short=12", "HEAD")}${changed ? "+" : ""}`;
  } catch {
    return "unknown";
  }
}

function adapter(): string {
  const script = fileURLToPath(new URL("./children/adapter.js", import.meta.url));
  try {
    return execFileSync(process.execPath, [script], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }).trim();
  } catch {
    return "none";
  }
}
