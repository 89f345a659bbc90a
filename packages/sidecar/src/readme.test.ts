/** The README's Python, as it stands: a first run, and one that finds what the first has saved. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { committedIn, describeTrainers, temporaryRoot } from "./testing/python";

const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
const [, example = ""] = /^```python\n(.*?)^```$/ms.exec(readme) ?? [];

describeTrainers("the README's example", { modules: ["torch"] }, (trainers) => {
  test("runs, and resumes", async () => {
    const root = temporaryRoot();
    const half = example.replace("step < 300", "step < 200");
    expect(half).not.toBe(example);
    expect(await trainers.runFile(half, root)).toMatchObject({ status: 0, errors: "" });
    expect(await committedIn(join(root, "checkpoints"))).toEqual(["step-00000100", "step-00000200"]);
    const printing = `${example}\nprint('{"from": %d}' % resumed.step)`;
    expect(await trainers.runFile(printing, root)).toMatchObject({
      status: 0,
      errors: "",
      told: [{ from: 200 }],
    });
    expect(await committedIn(join(root, "checkpoints"))).toEqual([
      "step-00000100",
      "step-00000200",
      "step-00000300",
    ]);
  });
});
