/** `torch.save`, ended by fsync, by the Python of the system. */
import { answer, gbPerS } from "../kit/child";
import { denseSide, type StateOptions } from "../kit/state";
import { runTool } from "../kit/tool";

/** Debian's: python3-torch belongs to its own Python, not to whichever comes first on the path. */
const PYTHON = "/usr/bin/python3";

/** Prints the seconds of the second of two saves: the first warms up. */
const SCRIPT = `
import os, sys, time, torch
path, side, tensors = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
shape = lambda index: (side, side) if index % 2 == 0 else (side,)
state = {"layers.%d.weight" % index: torch.rand(shape(index)) for index in range(tensors)}
for attempt in range(2):
    begun = time.perf_counter()
    with open(path, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    directory = os.open(os.path.dirname(path), os.O_RDONLY)
    os.fsync(directory)
    took = time.perf_counter() - begun
    os.remove(path)
    os.fsync(directory)
    os.close(directory)
print(took)
`;

await answer<StateOptions>(async ({ dir, bytes, tensors }) => {
  const there = await runTool(PYTHON, ["-c", "import torch"]).catch(() => "absent" as const);
  if (there === "absent") return { skip: `${PYTHON} has no torch (Debian: python3-torch)` };
  const side = denseSide(bytes, tensors);
  const { out } = await present(
    runTool(PYTHON, ["-c", SCRIPT, `${dir}/torch`, String(side), String(tensors)]),
  );
  return { gbPerS: gbPerS((tensors / 2) * (side * side + side) * 4, Number(out) * 1000) };
});

async function present<T>(result: Promise<T | "absent">): Promise<T> {
  const found = await result;
  if (found === "absent") throw new Error(`${PYTHON} vanished`);
  return found;
}
