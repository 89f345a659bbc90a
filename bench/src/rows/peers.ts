/** The same state, saved by what people use instead. */
import type { SaveOptions } from "../children/save";
import type { TfjsOptions } from "../children/tfjs";
import { atLeast } from "../goal";
import { GiB, type Group, MiB, type Scale } from "../measure";
import { compared } from "./compared";

export function peersGroup({ quick }: Scale): Group {
  const state = { bytes: quick ? 64 * MiB : GiB, tensors: quick ? 20 : 300, layout: "dense" } as const;
  const ours = "Holdfast";
  const row = (theirs: string) =>
    compared({
      name: `save / ${theirs}`,
      ours,
      theirs,
      figure: "gbPerS",
      unit: "GB/s",
      goal: atLeast(2),
    });
  return {
    name: "peers",
    about:
      "1 GiB in 150 matrices and 150 vectors, durable: Holdfast (digests included), `model.save` of tfjs through a " +
      "handler that writes a file, and `torch.save` of PyTorch. The peers write through the page cache, with no " +
      "digests and no commit; the sync is added to them. Hot: the second save of each process counts.",
    runs: quick ? 1 : 5,
    contestants: [
      { name: ours, child: "save", options: state satisfies SaveOptions },
      { name: "tfjs", child: "tfjs", options: { ...state, install: !quick } satisfies TfjsOptions },
      { name: "torch", child: "torch", options: state },
    ],
    rows: [row("tfjs"), row("torch")],
  };
}
