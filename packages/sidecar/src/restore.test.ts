/** What a trainer in Python gets back of what it saved. */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { AsyncCheckpointer, hostBackend } from "@holdfast/core";
import { fsSink } from "@holdfast/sink-fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { describeTrainers, loadFrom, pattern, temporaryRoot } from "./testing/python";

/** Tensors come back as (dtype, shape, bytes). */
const MAKE = `
def make(memory, dtype, shape):
    return (dtype, shape, bytes(memory))
program = Program()
`;

describeTrainers("restoring", {}, (trainers) => {
  test("nothing, where there is nothing yet", async () => {
    const { told, errors } = await trainers.run(
      `
with Checkpointer(root) as checkpoints:
    tell(latest=checkpoints.latest())`,
      temporaryRoot(),
    );
    expect(errors).toBe("");
    expect(told).toEqual([{ latest: null }]);
  });

  test("the same dicts, lists, tuples and numbers, and tensors that are tied, empty or scalar", async () => {
    const root = temporaryRoot();
    const { told, errors } = await trainers.run(
      `${MAKE}
shared = program.tensor((20, 3), 1, "<f2")
first = {"step": program.tensor((), 2), "exp_avg": program.tensor((7,), 3, "<f8")}
state = {
    "model": {"embedding.weight": shared, "head.weight": shared, "empty": program.tensor((0, 4), 0, "<i8")},
    "optimizer": {
        "state": {0: first, 1: {"step": program.tensor((), 4)}},
        "param_groups": [{"lr": 1.0, "betas": (0.9, 0.999), "params": [0, 1], "fused": None, "amsgrad": False}],
    },
    "scheduler": {"best": float("inf"), "last_epoch": -1, "counts": [2**60, -0.0], "$odd": "key", "digits": {"b": 1, "10": 2, "2": 3}},
}
extra = {"random": (3, (1, 2, 2**63), None), "nested": {1: "one", (2, "b"): [1.5]}}
with Checkpointer(root) as checkpoints:
    checkpoints.save(3, state, metrics={"loss": 0.25}, extra=extra,
                     training={"epoch": 2, "learning_rate": 1, "metadata": {"run": "a"}})
    found = checkpoints.save(4, state).wait() and checkpoints.latest()
    tell(step=found.step, extra=found.extra)

with Checkpointer(root, keep_last=1) as checkpoints:
    checkpoints.save(5, state, metrics={"loss": 0.25}, extra=extra,
                     training={"epoch": 2, "learning_rate": 1, "metadata": {"run": "a"}}).wait()
    found = checkpoints.latest()
    loaded = found.load(make)
    def known(tree):
        if isinstance(tree, Tensor):
            interface = tree.__cuda_array_interface__
            names = {"<f2": "F16", "<f4": "F32", "<f8": "F64", "<i8": "I64"}
            seed = {id(shared): 1, id(first["step"]): 2, id(first["exp_avg"]): 3}.get(id(tree), 4)
            return (names[interface["typestr"]], list(interface["shape"]), pattern(tree.size, seed))
        if isinstance(tree, dict):
            return {key: known(value) for key, value in tree.items()}
        return [known(value) for value in tree] if isinstance(tree, list) else tree
    expected = known(state)
    tell(same=repr(loaded) == repr(expected),  # types and order included
         lr=repr(loaded["optimizer"]["param_groups"][0]["lr"]),
         tied=loaded["model"]["embedding.weight"] is loaded["model"]["head.weight"])
    tell(id=found.id, step=found.step, metrics=found.metrics, training=found.training, same=found.extra == extra,
         directory=str(found.directory), passed_over=found.passed_over)`,
      root,
    );
    expect(errors).toBe("");
    expect(told).toEqual([
      { step: 4, extra: {} },
      { same: true, lr: "1.0", tied: true },
      {
        id: "step-00000005",
        step: 5,
        metrics: { loss: 0.25 },
        training: { epoch: 2, learning_rate: 1, metadata: { run: "a" } },
        same: true,
        directory: join(root, "step-00000005"),
        passed_over: [],
      },
    ]);
    // In Node it is a checkpoint as any other.
    const { state, training, extra } = await loadFrom(root, 5);
    expect(Object.keys(state)).toEqual(["model", "optimizer", "scheduler"]);
    const names = [...(state.optimizer?.keys() ?? [])].sort();
    expect(names).toEqual(["state.0.exp_avg", "state.0.step", "state.1.step"]);
    expect(training).toMatchObject({ epoch: 2, learningRate: 1 });
    expect(extra).toMatchObject({ nested: { $dict: expect.any(Array) } });
  });

  test("names that mean something in JavaScript", async () => {
    const root = temporaryRoot();
    const { told, errors } = await trainers.run(
      `${MAKE}
names = ("__proto__", "constructor", "toString", "hasOwnProperty", "length")
group = lambda seed: {name: program.tensor((9,), seed + i, "|u1") for i, name in enumerate(names)}
state = {"b": group(20), "10": group(30), "2": group(40), "__proto__": group(0), "constructor": {"__proto__": group(10), "numbers": {"__proto__": 1, "constructor": 2}}}
extra = {"__proto__": {"__proto__": 1}, "constructor": [{"__proto__": None}]}
with Checkpointer(root) as checkpoints:
    checkpoints.save(1, state, metrics={"__proto__": 0.5, "constructor": 2}, extra=extra,
                     training={"metadata": {"__proto__": "a"}}).wait()
    found = checkpoints.latest()
loaded = found.load(make)
known = lambda seed: {name: ("U8", [9], pattern(9, seed + i)) for i, name in enumerate(names)}
expected = {"b": known(20), "10": known(30), "2": known(40), "__proto__": known(0),
            "constructor": {"__proto__": known(10), "numbers": {"__proto__": 1, "constructor": 2}}}
tell(state=repr(loaded) == repr(expected), extra=found.extra == extra, metrics=found.metrics == {"__proto__": 0.5, "constructor": 2},
     metadata=found.training["metadata"] == {"__proto__": "a"})`,
      root,
    );
    expect(errors).toBe("");
    expect(told).toEqual([{ state: true, extra: true, metrics: true, metadata: true }]);
  });

  test("any JSON, and the same with tuples and with numbers for keys, types included", async () => {
    const root = temporaryRoot();
    const samples = fc.sample(fc.jsonValue({ stringUnit: "grapheme" }), 300);
    writeFileSync(join(root, "samples"), JSON.stringify(samples));
    const { told, errors } = await trainers.run(
      `${MAKE}
def tupled(value):
    if isinstance(value, dict):
        return {(len(key), index): tupled(item) for index, (key, item) in enumerate(value.items())}
    return tuple(tupled(item) for item in value) if isinstance(value, list) else value
samples = json.load(open(root + "/samples"))
both = {"plain": samples, "tupled": tupled(samples)}
with Checkpointer(root + "/checkpoints") as checkpoints:
    checkpoints.save(1, {"group": {**both, "tensor": program.tensor((1,), 1)}}, extra=both).wait()
    found = checkpoints.latest()
loaded = found.load(make)["group"]
del loaded["tensor"]
tell(count=len(samples), same=[repr(loaded) == repr(both), repr(found.extra) == repr(both)])`,
      root,
    );
    expect(errors).toBe("");
    expect(told).toEqual([{ count: 300, same: [true, true] }]);
  });

  test("memory of the host: arrays of others, and what speaks only DLPack", async () => {
    const root = temporaryRoot();
    const { told, errors } = await trainers.run(
      `${MAKE}
class Array:
    def __init__(self, shape, typestr, seed, **others):
        size = int(typestr[2:])
        for dimension in shape:
            size *= dimension
        self.bytes = ctypes.create_string_buffer(pattern(size, seed), size)
        self.__array_interface__ = {"shape": shape, "typestr": typestr, "version": 3,
                                    "data": (ctypes.addressof(self.bytes), False), **others}

from holdfast.tensors import _DLTensor
class OnlyDlpack:
    def __init__(self, address, shape, code, bits, kind):
        self.shape = (ctypes.c_int64 * len(shape))(*shape)
        self.tensor = _DLTensor(data=address, device_type=kind, ndim=len(shape), code=code, bits=bits, lanes=1, shape=self.shape)
        self.streams, self.kind = [], kind
    def __dlpack_device__(self):
        return (self.kind, 0)
    def __dlpack__(self, stream=None):
        self.streams.append(stream)
        call("cuCtxPushCurrent_v2", program.context)
        call("cuStreamSynchronize", program.stream)  # a library would have the stream wait
        call("cuCtxPopCurrent_v2", byref(c_void_p()))
        new = ctypes.pythonapi.PyCapsule_New
        new.restype, new.argtypes = ctypes.py_object, [c_void_p, c_char_p, c_void_p]
        return new(ctypes.addressof(self.tensor), b"dltensor", None)

flags, counts = Array((3, 5), "|b1", 1), Array((11,), "<u4", 2)
lone = OnlyDlpack(ctypes.addressof(counts.bytes), (2, 11), 4, 16, 1)
behind = program.tensor((4, 2), 5, "<f4")
on_device = OnlyDlpack(behind.address.value, (4, 2), 2, 32, 2)
with Checkpointer(root) as checkpoints:
    for step in (1, 2):
        save = checkpoints.save(step, {"data": {"flags": flags, "on_device": on_device, "counts": counts, "lone": lone}})
        behind.write(9)
        for array in (flags, counts):  # on the host they change at once
            ctypes.memmove(array.bytes, pattern(len(array.bytes), step + 5), len(array.bytes))
    save.wait()
    tell(streams=[len(on_device.streams), bool(on_device.streams[0]), lone.streams])
    loaded = checkpoints.latest().load(make)["data"]
    tell(same=loaded == {"flags": ("BOOL", [3, 5], pattern(15, 6)), "counts": ("U32", [11], pattern(44, 6)),
                         "lone": ("BF16", [2, 11], pattern(44, 6)), "on_device": ("F32", [4, 2], pattern(32, 9))})
with Failure() as failure:
    with Checkpointer(root) as checkpoints:
        checkpoints.save(3, {"data": {"wide": OnlyDlpack(behind.address.value, (4,), 2, 32, 10)}})
tell(message=failure.message)`,
      root,
    );
    expect(errors).toBe("");
    expect(told).toEqual([
      { streams: [2, true, [null, null]] },
      { same: true },
      { message: expect.stringContaining("data.wide is on a device of DLPack's kind 10") },
    ]);
    expect((await loadFrom(root, 1)).state.data?.get("flags")?.data).toEqual(pattern(15, 1));
  });

  test("a damaged checkpoint is passed over; if all are, that is said", async () => {
    const root = temporaryRoot();
    const save = `${MAKE}
with Checkpointer(root) as checkpoints:
    for step in (1, 2):
        checkpoints.save(step, {"model": {"t": program.tensor((100,), step)}})`;
    expect((await trainers.run(save, root)).errors).toBe("");
    const latest = `
with Failure() as failure:
    with Checkpointer(root) as checkpoints:
        found = checkpoints.latest()
        tell(step=found.step, passed_over=found.passed_over)
        raise HoldfastError("NONE", "found one")
tell(code=failure.code)`;
    writeFileSync(join(root, "step-00000002", "model.safetensors"), "broken");
    expect((await trainers.run(latest, root)).told).toEqual([
      { step: 1, passed_over: [expect.stringContaining("step-00000002: ")] },
      { code: "NONE" },
    ]);
    rmSync(join(root, "step-00000001", "model.safetensors"));
    expect((await trainers.run(latest, root)).told).toEqual([{ code: "NO_GOOD_CHECKPOINT" }]);
  });

  test("what Node wrote is read as it is, its extra too", async () => {
    const root = temporaryRoot();
    const checkpointer = await AsyncCheckpointer.open({ backend: hostBackend(), sink: fsSink(root) });
    const extra = { odd: { $tensor: "none" } };
    await checkpointer.save({ step: 8, state: { model: { a: { b: pattern(9, 1) } } }, extra }).committed;
    await checkpointer.close();
    const { told, errors } = await trainers.run(
      `${MAKE}
with Checkpointer(root) as checkpoints:
    found = checkpoints.latest()
    tell(extra=found.extra, same=found.load(make) == {"model": {"a.b": ("U8", [9], pattern(9, 1))}})`,
      root,
    );
    expect(errors).toBe("");
    expect(told).toEqual([{ extra, same: true }]);
  });

  test("extra that only looks like ours is told to be broken", async () => {
    const root = temporaryRoot();
    const checkpointer = await AsyncCheckpointer.open({ backend: hostBackend(), sink: fsSink(root) });
    const state = { model: { t: pattern(9, 1) } };
    await checkpointer.save({ step: 8, state, extra: { $trees: [], a: { $what: 1 } } }).committed;
    await checkpointer.close();
    const { told } = await trainers.run(
      `
with Failure() as failure:
    with Checkpointer(root) as checkpoints:
        checkpoints.latest()
tell(code=failure.code, message=failure.message)`,
      root,
    );
    expect(told).toEqual([
      {
        code: "CHECKPOINT_CORRUPT",
        message: expect.stringContaining("step-00000008: training_state.json: extra"),
      },
    ]);
  });
});

describeTrainers("torch", { modules: ["torch"] }, (trainers) => {
  test("a model and its optimizer go on as if nothing had happened", async () => {
    const root = temporaryRoot();
    const { told, errors } = await trainers.run(
      `
import torch
torch.manual_seed(1)
def make():
    model = torch.nn.Sequential(torch.nn.Linear(5, 40), torch.nn.Tanh(), torch.nn.Linear(40, 2).to(torch.float32))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    return model, optimizer
def train(model, optimizer, steps):
    for step in range(steps):
        optimizer.zero_grad()
        model(torch.full((3, 5), 0.1 * step)).square().sum().backward()
        optimizer.step()
model, optimizer = make()
train(model, optimizer, 3)
odd = {"transposed": torch.arange(6).reshape(2, 3).t(), "half": torch.ones(3, dtype=torch.bfloat16), "none": torch.empty(0, 2)}
with Checkpointer(root) as checkpoints:
    save = checkpoints.save(3, {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "odd": odd})
    train(model, optimizer, 4)
    save.wait()
    state = checkpoints.latest().load()
again, its_optimizer = make()
again.load_state_dict(state["model"])
its_optimizer.load_state_dict(state["optimizer"])
train(again, its_optimizer, 4)
tell(same=all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters())),
     odd={name: torch.equal(tensor, state["odd"][name]) and tensor.dtype == state["odd"][name].dtype for name, tensor in odd.items()})
class Wrapper(torch.Tensor):
    @staticmethod
    def __new__(cls):
        return torch.Tensor._make_wrapper_subclass(cls, (2,), dtype=torch.float32)
    __torch_dispatch__ = classmethod(lambda *_: NotImplemented)
class Functional(torch.Tensor):
    def data_ptr(self):
        raise RuntimeError("no storage")
for tensor in (torch.ones(2, device="meta"), torch.eye(2).to_sparse(), torch.ones(2, dtype=torch.complex128),
               Wrapper(), torch.ones(2).as_subclass(Functional)):
    with Failure() as failure, Checkpointer(root) as checkpoints:
        checkpoints.save(4, {"model": {"t": tensor}})
    tell(code=failure.code, message=failure.message)`,
      root,
    );
    expect(errors).toBe("");
    const refused = (rule: string) => ({ code: "INVALID_STATE", message: expect.stringContaining(rule) });
    expect(told).toEqual([
      { same: true, odd: { transposed: true, half: true, none: true } },
      refused("model.t is torch.strided on meta"),
      refused("model.t is torch.sparse_coo on cpu"),
      refused("model.t is of torch.complex128, which safetensors cannot hold"),
      refused("model.t is a Wrapper, which has no memory of its own: pass the tensors in it"),
      refused("model.t is a Functional, which has no memory of its own: pass the tensors in it (no storage)"),
    ]);
  });
});
