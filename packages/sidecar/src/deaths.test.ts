/** The trainer or the sidecar dies, at moments that the stand-in driver holds still. */
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { committedIn, describeTrainers, loadFrom, pattern, temporaryRoot } from "./testing/python";

const STATE = `
import signal
program = Program()
state = {"model": {"t": program.tensor((100000,), 5, "|u1")}}
`;
const NEXT = `${STATE}
with Checkpointer(root) as checkpoints:
    tell(id=checkpoints.save(2, state).wait().id)`;

describeTrainers("when the trainer is killed", {}, (trainers) => {
  async function expectNextTrainerToSave(root: string, expected: readonly string[]) {
    const { told, errors } = await trainers.run(NEXT, root);
    expect(errors).toBe("");
    expect(told).toEqual([{ id: "step-00000002" }]);
    expect(await committedIn(root)).toEqual(expected);
  }

  test("what was read out of the device is committed", async () => {
    const root = temporaryRoot();
    const { signal } = await trainers.run(
      `${STATE}
checkpoints = Checkpointer(root)
checkpoints.save(1, state).drained.wait()
os.kill(os.getpid(), signal.SIGKILL)`,
      root,
    );
    expect(signal).toBe("SIGKILL");
    expect((await loadFrom(root, 1)).state.model?.get("t")?.data).toEqual(pattern(100_000, 5));
    await expectNextTrainerToSave(root, ["step-00000001", "step-00000002"]);
  });

  test.each([
    ["being read", ', command=sidecar_with("held=1")', ""],
    ["being copied, which never ends any more", "", "set_stand_in(held=1)"],
  ])("what was %s is given up", async (_, options, before) => {
    const root = temporaryRoot();
    const { signal, errors } = await trainers.run(
      `${STATE}
checkpoints = Checkpointer(root${options})
${before}
checkpoints.save(1, state)
os.kill(os.getpid(), signal.SIGKILL)`,
      root,
    );
    expect(signal).toBe("SIGKILL");
    expect(errors).toBe("");
    expect(await committedIn(root)).toEqual([]);
    await expectNextTrainerToSave(root, ["step-00000002"]);
  });

  test("its children do not keep the sidecar alive", async () => {
    const root = temporaryRoot();
    const { told } = await trainers.run(
      `${STATE}
checkpoints = Checkpointer(root)
checkpoints.save(1, state).wait()
child = os.fork()
if child == 0:
    with Failure() as closed:
        checkpoints.save(2, state)
    tell(code=closed.code)
    os.closerange(1, 3)
    signal.pause()
tell(child=child)
os.kill(os.getpid(), signal.SIGKILL)`,
      root,
    );
    const child = told.find((line) => "child" in line)?.child;
    process.kill(Number(child), "SIGKILL"); // it was alive until now, and the sidecar ended before
    expect(await committedIn(root)).toEqual(["step-00000001"]);
  });
});

describeTrainers("when the sidecar is killed", {}, (trainers) => {
  /** The first sidecar never gets to read; those after it do. */
  function holdingTheFirst(): string {
    const directory = temporaryRoot();
    const script = join(directory, "sidecar");
    const lines = [
      "#!/bin/sh",
      `if [ -e "${directory}/started" ]; then exec "$@"; fi`,
      `touch "${directory}/started"`,
      'CUDA_STANDIN=held=1 exec "$@"',
    ];
    writeFileSync(script, `${lines.join("\n")}\n`);
    chmodSync(script, 0o755);
    return script;
  }

  test("its save fails, training goes on, and the next save starts another", async () => {
    const root = temporaryRoot();
    const { told, errors } = await trainers.run(
      `${STATE}
checkpoints = Checkpointer(root, command=["${holdingTheFirst()}", node, sidecar])
save = checkpoints.save(1, state)
os.kill(checkpoints._sidecar._process.pid, signal.SIGKILL)
with Failure() as failure:
    save.wait()
tell(code=failure.code, message=failure.message)
state["model"]["t"].write(6)
tell(id=checkpoints.save(2, state).wait().id)
checkpoints.close()
tell(left=left_over())`,
      root,
    );
    expect(errors).toBe("");
    expect(told).toEqual([
      {
        code: "SINK_FAILED",
        message: expect.stringMatching(/was killed by signal 9.*the next save starts another/),
      },
      { id: "step-00000002" },
      { left: { allocations: 1, streams: 1, contexts: 1 } },
    ]);
    expect((await loadFrom(root, 2)).state.model?.get("t")?.data).toEqual(pattern(100_000, 6));
  });

  test("its copy may still be queued when its memory is freed, which waits for it", async () => {
    const root = temporaryRoot();
    const { told, errors } = await trainers.run(
      `${STATE}
import threading
checkpoints = Checkpointer(root)
checkpoints.prepare(state)
set_stand_in(held=1, eager_free=1)
save = checkpoints.save(1, state)
os.kill(checkpoints._sidecar._process.pid, signal.SIGKILL)
save.ended.wait()
larger, saving = {"model": {"t": program.tensor((3 << 20,), 6, "|u1")}}, True
def train():
    while saving and "cuStreamSynchronize" not in statistics()["calls"]:
        pass
    set_stand_in(held=0)
training = threading.Thread(target=train)
training.start()
with Failure() as failure:
    checkpoints.save(2, larger)  # it is on its way
saving = False
training.join()
checkpoints.close()
tell(code=failure.code)`,
      root,
    );
    expect(errors).toBe("");
    expect(told).toEqual([{ code: "SINK_FAILED" }]);
    expect((await loadFrom(root, 2)).state.model?.get("t")?.data).toEqual(pattern(3 << 20, 6));
  });

  test("but not by what the whole group is sent, which the trainer answers", async () => {
    const root = temporaryRoot();
    const { told, errors } = await trainers.run(
      `${STATE}
with Checkpointer(root) as checkpoints:
    checkpoints.prepare(state)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(checkpoints._sidecar._process.pid, number)
    tell(id=checkpoints.save(1, state).wait().id)`,
      root,
    );
    expect(errors).toBe("");
    expect(told).toEqual([{ id: "step-00000001" }]);
  });

  test("a failure that nobody asked about is raised by the next save, which is on its way", async () => {
    const root = temporaryRoot();
    const { told, errors } = await trainers.run(
      `${STATE}
checkpoints = Checkpointer(root, command=["${holdingTheFirst()}", node, sidecar])
save = checkpoints.save(1, state)
os.kill(checkpoints._sidecar._process.pid, signal.SIGKILL)
save.ended.wait()
with Failure() as failure:
    checkpoints.save(2, state)
tell(code=failure.code)
checkpoints.save(3, state)
checkpoints.close()`,
      root,
    );
    expect(errors).toBe("");
    expect(told).toEqual([{ code: "SINK_FAILED" }]);
    expect(await committedIn(root)).toEqual(["step-00000002", "step-00000003"]);
  });
});
