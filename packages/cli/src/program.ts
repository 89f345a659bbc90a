/** The command line: its verbs, and what is said of them by `--help`. */
import { createRequire } from "node:module";
import { Command } from "commander";
import { convert } from "./commands/convert";
import { inspect } from "./commands/inspect";
import { ls } from "./commands/ls";
import { prune } from "./commands/prune";
import { sweep } from "./commands/sweep";
import { verify } from "./commands/verify";
import { EXIT_CODES, reportUsage } from "./exit";

const { version } = createRequire(import.meta.url)("../package.json");

export function programOf(signal: AbortSignal): Command {
  const program = new Command("holdfast")
    .description("Looks at checkpoints, checks them, converts them and clears them up.")
    .version(version)
    .addHelpText(
      "after",
      `
A checkpoint is a directory (step-00000100) or an archive (step-00000100.tar); - is an archive on standard
input or output. A root is the directory that checkpoints lie in.

Examples:
  holdfast ls checkpoints
  holdfast inspect checkpoints/step-00000500 --group model
  holdfast verify checkpoints
  holdfast convert checkpoints/step-00000500 my-model --format hf
  holdfast prune checkpoints --keep-last 3 --keep-best loss --dry-run

${EXIT_CODES}`,
    )
    .configureHelp({ showGlobalOptions: true });
  for (const add of [ls, inspect, verify, convert, prune, sweep]) program.addCommand(withErrors(add(signal)));
  return withErrors(program);
}

/** Wrong usage ends up in `holdfast.ts` like everything else, and is told in the same way. */
function withErrors(command: Command): Command {
  return command.exitOverride().configureOutput({
    outputError: (text) => reportUsage(text.replace(/^error: /, "").trim()),
  });
}
