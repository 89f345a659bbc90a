"""The CUDA driver, as far as it is needed here."""

from __future__ import annotations

import ctypes
import os
from ctypes import byref, c_int, c_size_t, c_uint, c_uint64, c_void_p
from typing import Any

from .errors import HoldfastError

_OUT_OF_MEMORY = 2
_NOT_READY = 600
_LOST = {4, 201, 214, 220, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721, 810, 911, 999}
"""After one of these every call fails, and nothing that is queued runs any more: src/driver/errors.ts of @holdfast/backend-cuda."""


class _MemcpyAttributes(ctypes.Structure):
    _fields_ = [("order", c_int), ("hints", c_int * 4), ("flags", c_uint)]


class Cuda:
    """The primary context of a device, which torch, CuPy and JAX use too. It is current within a `with`."""

    def __init__(self, ordinal: int):
        try:
            self._library = ctypes.CDLL(os.environ.get("HOLDFAST_LIBCUDA", "libcuda.so.1"))
        except OSError as error:
            raise HoldfastError("UNSUPPORTED", f"there is no CUDA driver: install NVIDIA's ({error})") from error
        self.ordinal = ordinal
        self._device, self._context = c_int(), c_void_p()
        self.call("cuInit", c_uint(0))
        self.call("cuDeviceGet", byref(self._device), c_int(ordinal))
        self.call("cuDevicePrimaryCtxRetain", byref(self._context), self._device)

    def __enter__(self) -> Cuda:
        self.call("cuCtxPushCurrent_v2", self._context)
        return self

    def __exit__(self, *_: Any) -> None:
        self._library.cuCtxPopCurrent_v2(byref(c_void_p()))

    def call(self, name: str, *arguments: Any) -> None:
        """Arguments have their C types. Raises HoldfastError DEVICE_ERROR, DEVICE_LOST, OUT_OF_MEMORY."""
        code = getattr(self._library, name)(*arguments)
        if code:
            raise self._failure(name, code)

    def _failure(self, name: str, code: int) -> HoldfastError:
        text = ctypes.c_char_p()
        self._library.cuGetErrorName(c_int(code), byref(text))
        known = (text.value or b"an error that this driver has no name for").decode()
        kind = "OUT_OF_MEMORY" if code == _OUT_OF_MEMORY else "DEVICE_LOST" if code in _LOST else "DEVICE_ERROR"
        return HoldfastError(kind, f"{name} failed with {known} ({code}) on CUDA device {self.ordinal}")

    def give_back(self, *calls: tuple) -> None:
        """Calls of (name, argument), whatever they report: they give back all the same, and nobody could do anything."""
        if self._library.cuCtxPushCurrent_v2(self._context):
            return
        for name, argument in calls:
            getattr(self._library, name)(argument)
        self._library.cuCtxPopCurrent_v2(byref(c_void_p()))

    def make(self, name: str, *arguments: Any) -> int:
        """Calls a function whose first parameter is where its result goes."""
        made = c_uint64()
        self.call(name, byref(made), *arguments)
        return made.value

    def device_of(self, address: int) -> int | None:
        """None if CUDA knows no memory of a device there."""
        kind, ordinal = c_uint(), c_int()
        attributes = (c_int * 2)(2, 9)  # CU_POINTER_ATTRIBUTE_MEMORY_TYPE, _DEVICE_ORDINAL
        answers = (c_void_p * 2)(ctypes.addressof(kind), ctypes.addressof(ordinal))
        self.call("cuPointerGetAttributes", c_uint(2), attributes, answers, c_uint64(address))
        return ordinal.value if kind.value == 2 else None  # CU_MEMORYTYPE_DEVICE

    def is_over(self, event: int) -> bool:
        """Whether what it was recorded behind is done. Raises HoldfastError, DEVICE_LOST if it may never be."""
        code = self._library.cuEventQuery(c_uint64(event))
        if code not in (0, _NOT_READY):
            raise self._failure("cuEventQuery", code)
        return code == 0

    def write(self, address: int, words: tuple[int, ...], stream: int) -> None:
        """Queues words of 32 bits, a call each: the calls take the values, so that no memory has to keep them."""
        for place, word in enumerate(words):
            self.call("cuMemsetD32Async", c_uint64(address + 4 * place), c_uint(word), c_size_t(1), c_uint64(stream))

    @property
    def uuid(self) -> bytes:
        """Of the device, which may have another number in the sidecar."""
        made = ctypes.create_string_buffer(16)
        self.call("cuDeviceGetUuid", made, self._device)
        return made.raw

    def order(self, event: int, earlier: int, later: int) -> None:
        """What is queued on stream `later` from now on happens after what is queued on `earlier` by now."""
        self.call("cuEventRecord", c_uint64(event), c_uint64(earlier))
        self.call("cuStreamWaitEvent", c_uint64(later), c_uint64(event), c_uint(0))

    def copy(self, copies: list[tuple[int, int, int]], stream: int) -> None:
        """(to, from, bytes) each. All in one call where the driver can: it can since CUDA 12.8."""
        newest = hasattr(self._library, "cuMemcpyBatchAsync_v2")
        if not newest and not hasattr(self._library, "cuMemcpyBatchAsync"):
            for to, source, size in copies:
                self.call("cuMemcpyAsync", c_uint64(to), c_uint64(source), c_size_t(size), c_uint64(stream))
        elif copies:
            count = len(copies)
            columns = [(c_uint64 * count)(*column) for column in zip(*copies)]
            in_stream_order = byref(_MemcpyAttributes(order=1))
            batch = [*columns, c_size_t(count), in_stream_order, byref(c_size_t(0)), c_size_t(1)]
            if newest:
                self.call("cuMemcpyBatchAsync_v2", *batch, c_uint64(stream))
            else:
                self.call("cuMemcpyBatchAsync", *batch, byref(c_size_t()), c_uint64(stream))

    def release(self) -> None:
        self._library.cuDevicePrimaryCtxRelease_v2(self._device)
