/** A trainer in Python saves, and trains on at once. */
import { describe, expect, test } from "vitest";
import { committedIn, describeTrainers, loadFrom, pattern, temporaryRoot } from "./testing/python";

const SHAPES = { "layers.0.weight": [300, 300], "layers.0.bias": [300], "layers.1.weight": [50, 7] };
const STATE = `
program = Program()
shapes = {"layers.0.weight": (300, 300), "layers.0.bias": (300,), "layers.1.weight": (50, 7)}
state = {group: {name: program.tensor(shape, 0) for name, shape in shapes.items()} for group in ("model", "optimizer")}
def write(state):
    for seed, group in zip((1, 11), state.values()):
        for i, tensor in enumerate(group.values()):
            tensor.write(seed + i)
write(state)
`;

/** Whether a checkpoint holds what `write` wrote. */
async function isWhatWasSaved(root: string, step: number): Promise<boolean> {
  const loaded = await loadFrom(root, step);
  return Object.entries({ model: 1, optimizer: 11 }).every(([group, seed]) =>
    Object.entries(SHAPES).every(([name, shape], i) => {
      const tensor = loaded.state[group]?.get(name);
      expect(tensor).toMatchObject({ dtype: "F32", shape });
      const { buffer, byteOffset, byteLength } = tensor?.data ?? new Uint8Array();
      const bytes = Buffer.from(buffer, byteOffset, byteLength);
      return bytes.equals(pattern(byteLength, seed + i));
    }),
  );
}

/** Each has another way to make many copies in one call. */
for (const version of [13_000, 12_080, 11_040]) {
  describeTrainers(`a driver of CUDA ${version / 1000}`, { version }, (trainers) => {
    test("tensors may change as soon as save returns, which waits for nothing on the device", async () => {
      const root = temporaryRoot();
      const { told, errors } = await trainers.run(
        `${STATE}
with Checkpointer(root) as checkpoints:
    checkpoints.prepare(state)
    overwrite(state)
    set_stand_in(held=2, op_us=20000, d2d_gbps=0.01)  # training is far behind, and the copy takes its time
    write(state)
    save = checkpoints.save(7, state, metrics={"loss": 0.5})
    overwrite(state)
    tell(ended=save.done)
    set_stand_in(held=0)
    tell(**save.wait()._asdict())
tell(left=left_over())`,
        root,
      );
      expect(errors).toBe("");
      expect(told[0]).toEqual({ ended: false });
      expect(told[1]).toMatchObject({ id: "step-00000007", housekeeping: null });
      // The trainer's own tensors and its stream are what is left.
      expect(told[2]).toEqual({ left: { allocations: 6, streams: 1, contexts: 1 } });
      expect(await isWhatWasSaved(root, 7)).toBe(true);
    });
  });
}

describeTrainers("saves", {}, (trainers) => {
  describe("notice a driver that does not keep the order", () => {
    const train = "call('cuStreamSynchronize', program.stream)";
    test.each([
      // The save is over before training has begun.
      ["the copy does not wait for training", "held=2, ignored_waits=1", "save.wait()"],
      // Training goes on before anything was copied.
      ["training does not wait for the copy", "held=1, ignored_waits=2", train],
    ])("%s", async (_, settings, meanwhile) => {
      const root = temporaryRoot();
      const { errors } = await trainers.run(
        `${STATE}
with Checkpointer(root) as checkpoints:
    checkpoints.prepare(state)
    overwrite(state)
    call("cuCtxPushCurrent_v2", program.context)
    call("cuStreamSynchronize", program.stream)
    set_stand_in(${settings})
    write(state)
    save = checkpoints.save(7, state)
    overwrite(state)
    ${meanwhile}
    set_stand_in(held=0)`,
        root,
      );
      expect(errors).toBe("");
      expect(await isWhatWasSaved(root, 7)).toBe(false);
    });
  });

  describe("whose stream is not known", () => {
    const DLPACK = `
    def __dlpack__(self, stream=None):
        event = c_void_p()
        call("cuCtxPushCurrent_v2", program.context)
        call("cuEventCreate", byref(event), c_uint(2))
        call("cuEventRecord", event, program.stream)
        call("cuStreamWaitEvent", c_void_p(stream), event, c_uint(0))
        call("cuCtxPopCurrent_v2", byref(c_void_p()))`;
    test.each([
      ["nothing less than the device is waited for", "", "cuCtxSynchronize"],
      ["it also fails to speak DLPack", "\n    def __dlpack__(self): pass", "cuCtxSynchronize"],
      ["DLPack has the copy wait", DLPACK, "cuStreamSynchronize"],
    ])("are copied when they are made, and before save returns: %s", async (_, methods, waiting) => {
      const root = temporaryRoot();
      const { told, errors } = await trainers.run(
        `
import threading
class Unknown(Tensor):
    pass${methods}
def train():
    while saving and not waits():
        pass
    set_stand_in(op_us=50000)
    set_stand_in(held=0)
def waits():
    return [name for name in ("cuCtxSynchronize", "cuStreamSynchronize") if name in statistics()["calls"]]
program, saving = Program(), True
set_stand_in(held=2)  # what makes the tensor is far behind
tensor = Unknown(program, (1000,), 3, "|u1", stream=False)
training = threading.Thread(target=train)
training.start()
with Checkpointer(root) as checkpoints:
    checkpoints.save(1, {"model": {"t": tensor}})
    tell(pending=statistics()["pending"], first=waits()[0])
    saving = False
    training.join()
    tensor.write(4)`,
        root,
      );
      expect(errors).toBe("");
      expect(told).toEqual([{ pending: 0, first: waiting }]);
      const loaded = await loadFrom(root, 1);
      expect(loaded.state.model?.get("t")?.data).toEqual(pattern(1000, 3));
    });
  });

  test("in a row, each of another layout, are all what they were; older ones go", async () => {
    const root = temporaryRoot();
    const { told, errors } = await trainers.run(
      `
program = Program()
states = [{"model": {f"t{i}": program.tensor((size,), i, "|u1") for i in range(count)}}
          for size, count in ((1000, 3), (3 << 20, 4), (10, 2), (5000, 7))]
with Checkpointer(root, keep_last=2, timeout=float("inf")) as checkpoints:
    for step, state in enumerate(states):
        checkpoints.save(step, state)
        overwrite(state)
    calls = statistics()["calls"]
    tell(allocations=calls["cuIpcGetMemHandle"])`,
      root,
    );
    expect(errors).toBe("");
    expect(told).toEqual([{ allocations: 2 }]); // the second was too large for the first one's
    expect(await committedIn(root)).toEqual(["step-00000002", "step-00000003"]);
    const [two, three] = [await loadFrom(root, 2), await loadFrom(root, 3)];
    expect([...(two.state.model ?? [])].map(([name, { data }]) => [name, data])).toEqual([
      ["t0", pattern(10, 0)],
      ["t1", pattern(10, 1)],
    ]);
    expect([...(three.state.model ?? [])].map(([name]) => name)).toEqual(
      [0, 1, 2, 3, 4, 5, 6].map((i) => `t${i}`),
    );
    expect(three.state.model?.get("t6")?.data).toEqual(pattern(5000, 6));
  });

  test("are skipped while the one before is still being read, where that is asked for", async () => {
    const root = temporaryRoot();
    const { told, errors } = await trainers.run(
      `${STATE}
checkpoints = Checkpointer(root, when_busy="skip", command=sidecar_with("held=1"))  # it never gets to read
first = checkpoints.save(1, state)
tell(first=first.step, second=checkpoints.save(2, state))
os._exit(0)`,
      root,
    );
    expect(errors).toBe("");
    expect(told).toEqual([{ first: 1, second: null }]);
    expect(await committedIn(root)).toEqual([]);
  });

  test("find everything ready where it was prepared", async () => {
    const root = temporaryRoot();
    const { told, errors } = await trainers.run(
      `${STATE}
with Checkpointer(root) as checkpoints:
    checkpoints.prepare(state)
    before = statistics()["calls"]["cuMemAlloc_v2"]
    checkpoints.save(1, state)
    tell(more=statistics()["calls"]["cuMemAlloc_v2"] - before)`,
      root,
    );
    expect(errors).toBe("");
    expect(told).toEqual([{ more: 0 }]);
  });
});
