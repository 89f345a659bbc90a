// Makes a fresh clone ready: installs what the lock file names, then builds every package.
// Needs nothing but Node itself, because it runs before anything is installed.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const stamp = join(root, "node_modules", ".holdfast-lock-digest");
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);

if (major < 20 || (major === 20 && minor < 19)) {
  console.error(`Holdfast needs Node 20.19 or newer; this is ${process.version}.`);
  process.exit(1);
}

const lock = createHash("sha256")
  .update(readFileSync(join(root, "package-lock.json")))
  .digest("hex");
const installed = existsSync(stamp) ? readFileSync(stamp, "utf8") : "";
if (installed !== lock) {
  console.error("holdfast: installing dependencies (npm ci) …");
  run("npm", ["ci", "--no-audit", "--no-fund", "--loglevel=error"]);
  writeFileSync(stamp, lock);
}
console.error("holdfast: building …");
run("npx", ["--no-install", "turbo", "run", "build", "--output-logs=errors-only", "--no-update-notifier"], {
  TURBO_TELEMETRY_DISABLED: "1",
});

/** Runs a tool with its output on standard error, so that standard output stays for results. */
function run(/** @type {string} */ command, /** @type {string[]} */ args, env = {}) {
  const shell = process.platform === "win32";
  const { status, error } = spawnSync(command, args, {
    cwd: root,
    shell,
    stdio: ["ignore", 2, 2],
    env: { ...process.env, ...env },
  });
  if (error) console.error(`holdfast: could not start ${command}: ${error.message}`);
  if (status !== 0) process.exit(status ?? 1);
}
