/** Calls that come at once, or amid another: the staging memory holds one save's copy. */
import { expect, test } from "vitest";
import { committedIn, describeTrainers, loadFrom, pattern, temporaryRoot } from "./testing/python";

describeTrainers("calls at once", {}, (trainers) => {
  test("of two threads each checkpoint is its own", async () => {
    const root = temporaryRoot();
    const { told, errors } = await trainers.run(
      `
import threading
program = Program()
tensors = {seed: program.tensor((5000,), seed) for seed in range(1, 7)}
with Checkpointer(root) as checkpoints:
    def saver(seeds):
        for seed in seeds:
            checkpoints.save(seed, {"model": {"t": tensors[seed]}})
    threads = [threading.Thread(target=saver, args=(seeds,)) for seeds in ((1, 3, 5), (2, 4, 6))]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
tell(done=True)`,
      root,
    );
    expect(errors).toBe("");
    expect(told).toEqual([{ done: true }]);
    expect(await committedIn(root)).toHaveLength(6);
    for (let seed = 1; seed <= 6; seed++) {
      const data = (await loadFrom(root, seed)).state.model?.get("t")?.data ?? new Uint8Array();
      expect(Buffer.from(data.buffer, data.byteOffset, data.byteLength).equals(pattern(20_000, seed))).toBe(
        true,
      );
    }
  });

  test("a save amid a save of its own thread is refused, and costs the outer one nothing", async () => {
    const root = temporaryRoot();
    const { told, errors } = await trainers.run(
      `
program = Program()
class Meddler(dict):
    def items(self):
        with Failure() as failure:
            checkpoints.save(2, {"model": {"t": tensor}})
        tell(code=failure.code)
        return super().items()
tensor = program.tensor((5000,), 1)
with Checkpointer(root) as checkpoints:
    checkpoints.save(1, {"model": Meddler(t=tensor)})
    tell(id=checkpoints.save(3, {"model": {"t": tensor}}).wait().id)`,
      root,
    );
    expect(errors).toBe("");
    expect(told.at(-1)).toEqual({ id: "step-00000003" });
    const refusals = told.slice(0, -1);
    expect(refusals.length).toBeGreaterThan(0);
    for (const refusal of refusals) expect(refusal).toEqual({ code: "INVALID_ARGUMENT" });
    expect(await committedIn(root)).toEqual(["step-00000001", "step-00000003"]);
  });

  test.each([
    ["amid the line", "pipe.write = half"],
    ["before the line", "holdfast.sidecar.json = types.SimpleNamespace(dumps=interrupt, loads=json.loads)"],
  ])("Ctrl-C %s that asks for a save costs that save alone, and nobody waits for it", async (_, how) => {
    const root = temporaryRoot();
    const { told, errors } = await trainers.run(
      `
import types
import holdfast.sidecar
program = Program()
state = {"model": {"t": program.tensor((5000,), 1)}}
checkpoints = Checkpointer(root)
checkpoints.prepare(state)
process = checkpoints._sidecar._process
stdin = process.stdin
def interrupt(*_, **__):
    raise KeyboardInterrupt
def half(line):
    stdin.write(line[: len(line) // 2])
    stdin.flush()
    interrupt()
pipe = process.stdin = types.SimpleNamespace(write=stdin.write, flush=stdin.flush, close=stdin.close)
${how}
try:
    checkpoints.save(1, state)
except KeyboardInterrupt:
    tell(interrupted=True)
holdfast.sidecar.json = json
with Failure() as failure:
    checkpoints.save(2, state)
tell(code=failure.code)
checkpoints.close()`,
      root,
    );
    expect(errors).toBe("");
    expect(told).toEqual([{ interrupted: true }, { code: "SINK_FAILED" }]);
    expect(await committedIn(root)).toEqual(["step-00000002"]);
  });

  test("what on_failure raises holds nothing up", async () => {
    const root = temporaryRoot();
    const { told, errors } = await trainers.run(
      `
import os, signal
program = Program()
tensor = program.tensor((5000,), 1)
def on_failure(error, save):
    tell(code=error.code)
    raise ValueError("mine")
with Checkpointer(root, on_failure=on_failure) as checkpoints:
    checkpoints.save(1, {"model": {"t": tensor}}).wait()
    os.kill(checkpoints._sidecar._process.pid, signal.SIGSTOP)
    doomed = checkpoints.save(2, {"model": {"t": tensor}})
    os.kill(checkpoints._sidecar._process.pid, signal.SIGKILL)
    doomed.ended.wait()
    tell(id=checkpoints.save(3, {"model": {"t": tensor}}).wait().id)`,
      root,
    );
    expect(errors).toContain("ValueError: mine");
    expect(told).toContainEqual({ code: "SINK_FAILED" });
    expect(told).toContainEqual({ id: "step-00000003" });
  });
});
