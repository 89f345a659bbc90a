/** Packs the bench for a GPU machine into one archive: see ../../README.md. */
import { execFileSync } from "node:child_process";
import { mkdtemp, rename, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { messageOf } from "../../../src/command-line";
import { MiB } from "../../../src/measure";
import { stage } from "./stage";

const NAME = "holdfast-gpu-bench";
const MOST = 40 * MiB;

const HELP = `Packs what measures Holdfast on a GPU into one archive, for a machine with Python and PyTorch and nothing else.

  npm run bench:gpu -- [options]

  --out FILE   the archive (default: ${NAME}.tar.xz)
  --stage DIR  lay it out in DIR, which is emptied, and pack nothing
  --help       this text

There: tar xf ${NAME}.tar.xz, or python3 -m tarfile -e ${NAME}.tar.xz; then cd ${NAME}, ./run
`;

process.exitCode = await main().catch((error: unknown) => {
  process.stderr.write(`error: ${messageOf(error)}\n`);
  return 1;
});

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      out: { type: "string", default: `${NAME}.tar.xz` },
      stage: { type: "string" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    process.stdout.write(HELP);
    return 0;
  }
  if (values.stage !== undefined) {
    await stage(resolve(values.stage));
    process.stdout.write(`${resolve(values.stage)}\n`);
    return 0;
  }
  const temporary = await mkdtemp(join(tmpdir(), `${NAME}-`));
  try {
    const staged = join(temporary, NAME);
    await stage(staged);
    const out = resolve(values.out);
    process.stderr.write("packing, which takes a minute or two …\n");
    archive(temporary, `${out}.partial`);
    const { size } = await stat(`${out}.partial`);
    const mib = (size / MiB).toFixed(1);
    if (size > MOST) {
      await rm(`${out}.partial`);
      throw new Error(`the archive has ${mib} MiB, and ${MOST / MiB} is the most: leave something out`);
    }
    await rename(`${out}.partial`, out);
    process.stdout.write(`${out}: ${mib} MiB\n`);
    return 0;
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

function archive(directory: string, out: string): void {
  const tar = [
    "--sort=name",
    "--owner=0",
    "--group=0",
    "--numeric-owner",
    "-C",
    directory,
    "-cJf",
    out,
    NAME,
  ];
  execFileSync("tar", tar, {
    stdio: ["ignore", "ignore", "inherit"],
    env: { ...process.env, XZ_OPT: "-9e" },
  });
}
