import { Command } from "commander";
import { count } from "../format";
import { print, printJson } from "../output";
import { withRoot } from "../places";

export function sweep(signal: AbortSignal): Command {
  return new Command("sweep")
    .summary("remove what processes that died have left")
    .description(
      `Removes from ROOT what was never committed: attempts of processes that
died, and what deletions left. Checkpoints are not touched; a root that
is being written to is refused.`,
    )
    .argument("<root>", "the directory that checkpoints lie in")
    .option("--json", "for machines")
    .addHelpText("after", "\nExample:\n  holdfast sweep checkpoints")
    .action((path: string, options: { readonly json?: boolean }) =>
      withRoot(path, signal, async ({ path: root, sinks }) => {
        // What is swept is the same for every kind of checkpoint, and so is the lock.
        const swept = (await sinks[0]?.sink.sweep()) ?? [];
        if (options.json) printJson({ root, swept });
        else print([`${count(swept.length, "leftover")} removed`, ...swept].join("\n  "));
      }),
    );
}
