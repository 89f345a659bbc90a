"""What the tests' trainers share: tensors in the stand-in's memory, which training changes behind its stream."""

import ctypes
import json
import os
import sys
from ctypes import byref, c_char_p, c_double, c_int, c_long, c_size_t, c_uint, c_uint64, c_void_p

from holdfast import Checkpointer, HoldfastError

driver = ctypes.CDLL(os.environ["HOLDFAST_LIBCUDA"])
root, node, sidecar = sys.argv[1:4]


def call(name, *arguments):
    code = getattr(driver, name)(*arguments)
    if code:
        raise RuntimeError(f"{name} failed with {code}")


def tell(**facts):
    """A line for the test."""
    os.write(1, (json.dumps(facts) + "\n").encode())  # at once: a forked process may tell something too


def set_stand_in(**settings):
    """Of this process alone: the sidecar has its own."""
    for name, value in settings.items():
        assert driver.standinSet(name.encode(), c_double(value)), name


def statistics():
    text = ctypes.create_string_buffer(16384)
    driver.standinStatistics(text, c_int(16384))
    return json.loads(text.value)


def fail_call(nth, code=304):
    """Of this process. 0 takes it back."""
    driver.standinFailCall(c_char_p(b""), c_long(nth), c_int(code))


def left_over():
    counted = ("allocations", "pins", "streams", "events", "contexts", "contextDepth")
    return {name: value for name, value in statistics().items() if name in counted and value}


def pattern(size, seed):
    """As the test's: it differs from place to place, and from seed to seed."""
    return (bytes((seed * 101 + 13 + place * 31) & 255 for place in range(251)) * (size // 251 + 1))[:size]


def sidecar_with(settings):
    """The command of a sidecar whose stand-in has these settings."""
    return ["env", f"CUDA_STANDIN={settings}", node, sidecar]


class Failure:
    """`with Failure() as failure` takes the HoldfastError that has to be raised."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if not isinstance(error, HoldfastError):
            raise AssertionError(f"no HoldfastError, but {error!r}")
        self.code, self.message = error.code, error.message
        return True


class Program:
    """Memory of one device, and a stream that training is queued on."""

    def __init__(self, device=0):
        context = c_void_p()
        call("cuInit", c_uint(0))
        call("cuDevicePrimaryCtxRetain", byref(context), c_int(device))
        call("cuCtxPushCurrent_v2", context)
        self.stream = c_void_p()
        call("cuStreamCreate", byref(self.stream), c_uint(0))
        call("cuCtxPopCurrent_v2", byref(c_void_p()))
        self.context = context

    def tensor(self, shape, seed, typestr="<f4", **others):
        return Tensor(self, shape, seed, typestr, **others)


class Tensor:
    """What a library's array shows of itself."""

    def __init__(self, program, shape, seed, typestr, stream=True, strides=None):
        self.program, self.size = program, int(typestr[2:])
        for dimension in shape:
            self.size *= dimension
        self.address = c_uint64()
        call("cuCtxPushCurrent_v2", program.context)
        call("cuMemAlloc_v2", byref(self.address), c_size_t(max(1, self.size)))
        call("cuCtxPopCurrent_v2", byref(c_void_p()))
        self.__cuda_array_interface__ = {
            "version": 3,
            "shape": tuple(shape),
            "typestr": typestr,
            "data": (self.address.value if self.size else 0, False),
            "strides": strides,
            "stream": program.stream.value if stream else None,
        }
        self.write(seed)

    def write(self, seed):
        """A step of training: queued, and done later."""
        call("cuCtxPushCurrent_v2", self.program.context)
        content = c_char_p(pattern(self.size, seed))
        call("standinWrite", self.program.stream, self.address, content, c_size_t(self.size))
        call("cuCtxPopCurrent_v2", byref(c_void_p()))


def overwrite(state, seed=99):
    """Trains: the tensor that is copied last first."""
    for group in reversed(list(state.values())):
        for tensor in reversed(list(group.values())):
            tensor.write(seed)
