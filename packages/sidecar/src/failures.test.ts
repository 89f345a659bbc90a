/** What goes wrong, as a trainer in Python is told. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { committedIn, describeTrainers, temporaryRoot } from "./testing/python";

describeTrainers("a state that cannot be saved", {}, (trainers) => {
  test.each([
    [
      "INVALID_STATE",
      "model.t is not contiguous",
      '{"model": {"t": program.tensor((2, 3), 0, strides=(4, 8))}}',
    ],
    [
      "INVALID_STATE",
      "model.t is of <c16, which safetensors cannot hold",
      '{"model": {"t": program.tensor((2,), 0, "<c16")}}',
    ],
    ["INVALID_STATE", "model.t.a is at 0x10, where CUDA knows no memory", '{"model": {"t": {"a": nowhere}}}'],
    [
      "INVALID_STATE",
      "model.a.b has the name a.b, as another",
      '{"model": {"a.b": tensor, "a": {"b": tensor}}}',
    ],
    ["INVALID_STATE", "the state has to be a dict of groups", "[tensor]"],
    ["INVALID_STATE", "model is a trainer.Tensor; a group holds named tensors", '{"model": tensor}'],
    ["INVALID_STATE", "mo/del cannot be a file's name", '{"mo/del": {"t": tensor}}'],
    ["NOT_JSON", "model.hook is a builtins.function", '{"model": {"t": tensor, "hook": lambda: 0}}'],
    ["NOT_JSON", "metrics.loss is nan", '{"model": {"t": tensor}}, metrics={"loss": float("nan")}'],
    ["NOT_JSON", "extra.a[1] is a builtins.bytes", '{"model": {"t": tensor}}, extra={"a": [1, b""]}'],
    ["INVALID_ARGUMENT", "begin with no $", '{"model": {"t": tensor}}, extra={"$a": 1}'],
    [
      "INVALID_ARGUMENT",
      "training has 'lr'; it can have epoch",
      '{"model": {"t": tensor}}, training={"lr": 1}',
    ],
    ["INVALID_ARGUMENT", "training.epoch is -1", '{"model": {"t": tensor}}, training={"epoch": -1}'],
  ])("%s: %s", async (code, message, state) => {
    const root = temporaryRoot();
    const { told, errors } = await trainers.run(
      `
program = Program()
tensor = program.tensor((10,), 1)
nowhere = program.tensor((10,), 1)
nowhere.__cuda_array_interface__["data"] = (16, False)
with Checkpointer(root) as checkpoints:
    with Failure() as failure:
        checkpoints.save(1, ${state}).wait()
    tell(code=failure.code, message=failure.message)
    tell(id=checkpoints.save(2, {"model": {"t": tensor}}).wait().id)`,
      root,
    );
    expect(errors).toBe("");
    expect(told).toEqual([{ code, message: expect.stringContaining(message) }, { id: "step-00000002" }]);
    expect(await committedIn(root)).toEqual(["step-00000002"]);
  });

  test("INVALID_STATE: a tensor of another device", async () => {
    const { told, errors } = await trainers.run(
      `
tensor = Program(device=1).tensor((10,), 1)
with Checkpointer(root) as checkpoints, Failure() as failure:
    checkpoints.save(1, {"model": {"t": tensor}})
tell(code=failure.code, message=failure.message)`,
      temporaryRoot(),
      { CUDA_STANDIN: "devices=2" },
    );
    expect(errors).toBe("");
    expect(told).toEqual([
      {
        code: "INVALID_STATE",
        message: "model.t is on CUDA device 1, and this Checkpointer on 0: pass device=1",
      },
    ]);
  });
});

describeTrainers("a driver that fails", {}, (trainers) => {
  test("at any call: training is not held, nothing is left, and the next save works", async () => {
    const root = temporaryRoot();
    const { told, errors } = await trainers.run(
      `
import ctypes
program = Program()
tensor = program.tensor((1000,), 1)
on_host = ctypes.create_string_buffer(b"host", 100)
class Host:
    __array_interface__ = {"shape": (100,), "typestr": "|u1", "data": (ctypes.addressof(on_host), False)}
state = {"model": {"t": tensor, "h": Host()}}
failed, nth = set(), 0
while True:
    nth += 1
    before = sum(statistics()["calls"].values())
    fail_call(nth)
    checkpoints = Checkpointer(root, keep_last=1)
    try:
        first = checkpoints.save(nth, state)
    except HoldfastError as failure:
        first = None
        assert failure.code == "DEVICE_ERROR", failure
        failed.add(failure.message.split(" ")[0])
    over = sum(statistics()["calls"].values()) - before < nth
    fail_call(0)
    call("cuCtxPushCurrent_v2", program.context)
    call("cuStreamSynchronize", program.stream)
    call("cuCtxPopCurrent_v2", byref(c_void_p()))
    second = checkpoints.save(nth, state) if first is None else first
    second.wait()
    checkpoints.close()
    left = left_over()
    assert left == {"allocations": 1, "streams": 1, "contexts": 1}, (nth, left)
    if over:
        break
tell(failed=sorted(failed), sound=nth > 20)`,
      root,
    );
    expect(errors).toBe("");
    expect(told).toEqual([
      {
        failed: expect.arrayContaining([
          "cuInit",
          "cuMemAlloc_v2",
          "cuMemcpyBatchAsync_v2",
          "cuIpcGetEventHandle",
        ]),
        sound: true,
      },
    ]);
  });
});

describeTrainers("a copy that was not made", {}, (trainers) => {
  const STATE = `
program = Program()
tensor = program.tensor((100000,), 1, "|u1")
state = {"model": {"t": tensor}}
def lose_context():
    call("cuCtxPushCurrent_v2", program.context)
    driver.standinFailCall(b"cuStreamSynchronize", c_long(1), c_int(700))
    driver.cuStreamSynchronize(program.stream)
    call("cuCtxPopCurrent_v2", byref(c_void_p()))`;
  const NEVER =
    "step 2 was never copied on the device: the trainer's CUDA context was lost before. Start a new process";
  const LOST = "may never have been made: cuEventQuery failed with CUDA_ERROR_ILLEGAL_ADDRESS (700)";

  test.each([
    ["the trainer's context is lost before it", "", "lose_context()"],
    ["nobody waits for it", ', command=sidecar_with("ignored_waits=8")', "save.ended.wait()"],
  ])("is not taken for the one before, where %s", async (_, options, meanwhile) => {
    const root = temporaryRoot();
    const { told } = await trainers.run(
      `${STATE}
checkpoints = Checkpointer(root${options})
checkpoints.save(1, state).wait()
set_stand_in(held=3)
tensor.write(2)
save = checkpoints.save(2, state)
${meanwhile}
set_stand_in(held=0)
with Failure() as failure:
    save.wait()
tell(code=failure.code, message=failure.message)`,
      root,
    );
    expect(told).toEqual([{ code: "DEVICE_ERROR", message: expect.stringContaining(NEVER) }]);
    expect(await committedIn(root)).toEqual(["step-00000001"]);
  });

  test.each([
    ["close", "checkpoints.close()", LOST],
    ["the next save", "checkpoints.save(2, state)", "failed with CUDA_ERROR_ILLEGAL_ADDRESS (700)"],
  ])("is not waited for for ever: %s", async (_, waiting, message) => {
    const root = temporaryRoot();
    const { told, status } = await trainers.run(
      `${STATE}
checkpoints = Checkpointer(root)
set_stand_in(held=1)  # its event never comes
save = checkpoints.save(1, state)
lose_context()
with Failure() as failure:
    ${waiting}
tell(code=failure.code, message=failure.message)
with Failure() as failure:
    save.wait(0)
tell(code=failure.code, message=failure.message)
set_stand_in(held=0)`,
      root,
    );
    expect(status).toBe(0);
    expect(told).toEqual([
      { code: "DEVICE_LOST", message: expect.stringContaining(message) },
      { code: "DEVICE_LOST", message: expect.stringContaining(`the copy of step 1 on the device ${LOST}`) },
    ]);
    expect(await committedIn(root)).toEqual([]);
  });

  test("is waited for as long as it may be made yet, whatever the driver says of it", async () => {
    const root = temporaryRoot();
    const { told, errors } = await trainers.run(
      `${STATE}
import threading
checkpoints, closing = Checkpointer(root), True
set_stand_in(held=1, failing_queries=900)
save = checkpoints.save(1, state)
def train():
    while closing and statistics()["calls"].get("cuEventQuery", 0) < 2:
        pass
    set_stand_in(held=0)
training = threading.Thread(target=train)
training.start()
checkpoints.close()
closing = False
tell(id=save.wait().id)`,
      root,
    );
    expect(errors).toBe("");
    expect(told).toEqual([{ id: "step-00000001" }]);
  });
});

describeTrainers("a machine that cannot save", {}, (trainers) => {
  const SAVE = `
program = Program()
state = {"model": {"t": program.tensor((3 << 20,), 1, "|u1")}}
with Failure() as failure, Checkpointer(ROOT, **OPTIONS) as checkpoints:
    checkpoints.save(1, state).wait()
tell(code=failure.code, message=failure.message)`;
  const save = (directory = "root", options = "{}") =>
    SAVE.replace("ROOT", directory).replace("OPTIONS", options);

  test("OUT_OF_MEMORY: the device has no room for the copy", async () => {
    const { told } = await trainers.run(save(), temporaryRoot(), { CUDA_STANDIN: "device_memory=6000000" });
    expect(told).toEqual([
      {
        code: "OUT_OF_MEMORY",
        message: expect.stringContaining(
          "no room for the copy of the state that a save needs, 4194304 bytes",
        ),
      },
    ]);
    expect(told[0]?.message).toContain("call prepare(state) before the first step");
  });

  test("what torch keeps without need is freed before that is said", async () => {
    const script = `
import types
program = Program()
state, kept = {"model": {"t": program.tensor((10,), 1)}}, program.tensor((1 << 20,), 2)
def empty_cache():
    call("cuCtxPushCurrent_v2", program.context)
    call("cuMemFree_v2", kept.address)
    call("cuCtxPopCurrent_v2", byref(c_void_p()))
sys.modules["torch"] = types.SimpleNamespace(Tensor=type(None), cuda=types.SimpleNamespace(empty_cache=empty_cache))
with Checkpointer(root) as checkpoints:
    tell(id=checkpoints.save(1, state).wait().id)`;
    const { told, errors } = await trainers.run(script, temporaryRoot(), {
      CUDA_STANDIN: "device_memory=6000000",
    });
    expect(errors).toBe("");
    expect(told).toEqual([{ id: "step-00000001" }]);
  });

  test("INVALID_ARGUMENT: the sidecar counts other devices", async () => {
    const options = '{"command": sidecar_with("devices=2,first_device=1")}';
    const { told, errors } = await trainers.run(save("root", options), temporaryRoot());
    expect(errors).toBe("");
    expect(told).toEqual([
      {
        code: "INVALID_ARGUMENT",
        message: expect.stringMatching(
          /device 0 has the UUID 00\w{30}, and the sidecar's has 10\w{30}: set CUDA_VISIBLE_DEVICES/,
        ),
      },
    ]);
  });

  test("UNSUPPORTED: no CUDA driver", async () => {
    const script = `
import os
os.environ["HOLDFAST_LIBCUDA"] = "/nowhere/libcuda.so.1"
with Failure() as failure:
    Checkpointer(root).save(1, {"model": {}})
tell(code=failure.code, message=failure.message)`;
    const { told } = await trainers.run(script, temporaryRoot());
    expect(told).toEqual([
      { code: "UNSUPPORTED", message: expect.stringContaining("there is no CUDA driver: install NVIDIA's") },
    ]);
  });

  test("UNSUPPORTED: no sidecar", async () => {
    const { told } = await trainers.run(save("root", '{"command": ["/nowhere/node"]}'), temporaryRoot());
    expect(told).toEqual([{ code: "UNSUPPORTED", message: expect.stringContaining("/nowhere/node") }]);
  });

  test("ROOT_INVALID: the sidecar's own errors arrive with their codes", async () => {
    const root = temporaryRoot();
    writeFileSync(join(root, "file"), "");
    const { told, errors } = await trainers.run(save('root + "/file"'), root);
    expect(errors).toBe("");
    expect(told).toEqual([{ code: "ROOT_INVALID", message: expect.stringContaining("file") }]);
  });

  test("TIMEOUT: nothing moves for as long as the trainer says", async () => {
    const options = '{"timeout": 0.5, "command": sidecar_with("held=1")}'; // it never gets to read
    const { told, errors } = await trainers.run(save("root", options), temporaryRoot());
    expect(errors).toBe("");
    expect(told).toEqual([{ code: "TIMEOUT", message: expect.stringContaining("500 ms") }]);
  });

  test.each([
    ['{"keep_last": 0}', "--keep-last is 0; it has to be a whole number ≥ 1"],
    ['{"timeout": 0.0}', "--timeout is 0.0; it has to be seconds > 0, or inf for none"],
    ['{"timeout": "soon"}', "--timeout is soon; it has to be seconds > 0, or inf for none"],
  ])(
    "SINK_FAILED: a sidecar that refuses its options says why on standard error: %s",
    async (options, rule) => {
      const { told, errors } = await trainers.run(save("root", options), temporaryRoot());
      expect(told).toEqual([
        { code: "SINK_FAILED", message: expect.stringContaining("ended with exit code 2") },
      ]);
      expect(errors).toContain(`holdfast-sidecar: ${rule}`);
    },
  );

  test("on_failure is told instead of the next save", async () => {
    const root = temporaryRoot();
    writeFileSync(join(root, "file"), "");
    const script = `
program = Program()
state = {"model": {"t": program.tensor((10,), 1)}}
failures = []
def note(failure, save):
    failures.append([failure.code, save.step])
with Checkpointer(root + "/file", on_failure=note) as checkpoints:
    checkpoints.save(1, state).ended.wait()
    checkpoints.save(2, state)
tell(failures=failures)`;
    const { told, errors } = await trainers.run(script, root);
    expect(errors).toBe("");
    expect(told).toEqual([
      {
        failures: [
          ["ROOT_INVALID", 1],
          ["ROOT_INVALID", 2],
        ],
      },
    ]);
  });
});
