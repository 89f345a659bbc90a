from __future__ import annotations

import ctypes
import mmap
import os
import struct
import sys
from ctypes import c_size_t, c_uint, c_uint64, c_void_p
from typing import Any

from .cuda import Cuda
from .errors import HoldfastError
from .layout import TOKEN_BYTES, Layout, aligned
from .sidecar import Sidecar
from .tensors import FOLLOWED, HOST, UNKNOWN, Tensor

_BLOCK = 2 << 20
"""CUDA shares whole blocks of so many bytes: with one that is ours alone, the sidecar sees nothing else."""


class Staging:
    """One allocation that a state is copied to, and that the sidecar reads, and the event behind the copies.

    What lies on the host is copied to pinned memory, and goes on from there by itself.
    """

    def __init__(self, cuda: Cuda):
        self.opened_by: Sidecar | None = None
        self._cuda = cuda
        self._address = self._size = 0
        self._pinned: mmap.mmap | None = None
        self._copies, self._secret = 0, os.urandom(TOKEN_BYTES - 4)
        self.stream = self._before = self._copied = 0
        try:
            with cuda:
                self.stream = cuda.make("cuStreamCreate", c_uint(1))  # CU_STREAM_NON_BLOCKING
                self._before = cuda.make("cuEventCreate", c_uint(2))  # CU_EVENT_DISABLE_TIMING
                self._copied = cuda.make("cuEventCreate", c_uint(2 | 4))  # and CU_EVENT_INTERPROCESS
        except HoldfastError:
            self.close()
            raise

    def has_room_for(self, layout: Layout) -> bool:
        pinned = len(self._pinned) if self._pinned else 0
        return self._size >= layout.size and pinned >= layout.host_size

    def reallocate(self, layout: Layout) -> None:
        """Nobody reads it, and the sidecar has closed it. Raises HoldfastError OUT_OF_MEMORY, DEVICE_ERROR."""
        self._free()
        self._allocate(aligned(layout.size, _BLOCK), sys.modules.get("torch"))
        if layout.host_size:
            pages = mmap.mmap(-1, aligned(layout.host_size, mmap.PAGESIZE))
            with self._cuda as cuda:
                length, flags = c_size_t(len(pages)), c_uint(1)  # CU_MEMHOSTREGISTER_PORTABLE
                cuda.call("cuMemHostRegister_v2", c_void_p(_address_of(pages)), length, flags)
            self._pinned = pages

    def _allocate(self, size: int, torch: Any) -> None:
        try:
            with self._cuda as cuda:
                self._address, self._size = cuda.make("cuMemAlloc_v2", c_size_t(size)), size
        except HoldfastError as error:
            if error.code != "OUT_OF_MEMORY":
                raise
            if torch is not None:  # it keeps what was freed, for itself
                torch.cuda.empty_cache()
                return self._allocate(size, None)
            rule = f"there is no room for the copy of the state that a save needs, {size} bytes ({error.message})"
            advice = "call prepare(state) before the first step, or free memory of the device"
            raise HoldfastError(error.code, f"{rule}: {advice}") from error

    def handles(self) -> dict[str, str]:
        """By which the sidecar opens the memory and the event, and knows the device."""
        memory, event = ctypes.create_string_buffer(64), ctypes.create_string_buffer(64)
        with self._cuda as cuda:
            cuda.call("cuIpcGetMemHandle", memory, c_uint64(self._address))
            cuda.call("cuIpcGetEventHandle", event, c_uint64(self._copied))
        return {"memory": memory.raw.hex(), "event": event.raw.hex(), "uuid": self._cuda.uuid.hex()}

    def copy(self, layout: Layout) -> bytes:
        """Queues the copies behind what the tensors' streams have to do; those wait for the copies, and nobody else.

        Returns the token that is written behind them, at `layout.token_start`. No other copy has it: where it lies, this
        one was made. The event does not say that, which comes for a context that was lost as well.
        """
        self._copies += 1
        token = struct.pack("<I", self._copies & 0xFFFFFFFF) + self._secret
        made_on = {tensor.stream for _, tensor in layout.on_device}
        streams = made_on - {FOLLOWED, None}
        with self._cuda as cuda:
            self._check_devices(layout.groups)
            copies = self._planned(layout)
            if None in made_on:  # there is nothing less to wait for
                cuda.call("cuCtxSynchronize")
            for stream in streams:
                cuda.order(self._before, stream, self.stream)
            cuda.copy(copies, self.stream)
            cuda.write(self._address + layout.token_start, struct.unpack("<4I", token), self.stream)
            cuda.call("cuEventRecord", c_uint64(self._copied), c_uint64(self.stream))
            for stream in streams:
                cuda.call("cuStreamWaitEvent", c_uint64(stream), c_uint64(self._copied), c_uint(0))
            if made_on - streams:
                # Whoever changes them next cannot be told to wait.
                cuda.call("cuStreamSynchronize", c_uint64(self.stream))
        return token

    def is_copied(self) -> bool:
        """Whether the last copy was made. Raises HoldfastError, DEVICE_LOST if it may never be."""
        with self._cuda as cuda:
            return cuda.is_over(self._copied)

    def close(self) -> None:
        self._free()
        made = [("cuEventDestroy_v2", self._before), ("cuEventDestroy_v2", self._copied), ("cuStreamDestroy_v2", self.stream)]
        self._cuda.give_back(*[(name, c_uint64(handle)) for name, handle in made if handle])
        self._cuda.release()

    def _planned(self, layout: Layout) -> list[tuple[int, int, int]]:
        start = self._address
        copies = [(start + offset, tensor.address, tensor.size) for offset, tensor in layout.on_device]
        if layout.on_host:
            pinned, first = _address_of(self._pinned), layout.host_start
            for offset, tensor in layout.on_host:
                ctypes.memmove(pinned + offset - first, tensor.address, tensor.size)
            copies.append((start + first, pinned, layout.host_size))
        return copies

    def _check_devices(self, groups: dict[str, dict[str, Tensor]]) -> None:
        for group, names in groups.items():
            for name, tensor in names.items():
                if tensor.device in (HOST, self._cuda.ordinal) or not tensor.size:
                    continue
                device = self._cuda.device_of(tensor.address) if tensor.device == UNKNOWN else tensor.device
                if device is None:
                    rule = f"is at {tensor.address:#x}, where CUDA knows no memory of a device: was it freed?"
                elif device != self._cuda.ordinal:
                    rule = f"is on CUDA device {device}, and this Checkpointer on {self._cuda.ordinal}: pass device={device}"
                else:
                    continue
                raise HoldfastError("INVALID_STATE", f"{group}.{name} {rule}")

    def _free(self) -> None:
        freed = [("cuMemFree_v2", c_uint64(self._address))] if self._size else []
        if self._pinned:
            freed.append(("cuMemHostUnregister", c_void_p(_address_of(self._pinned))))
        if freed:  # of a save that failed the copies may still be queued, and CUDA does not say that freeing waits for them
            self._cuda.give_back(("cuStreamSynchronize", c_uint64(self.stream)), *freed)
        self._pinned, self._size, self.opened_by = None, 0, None


def _address_of(pages: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(pages))
