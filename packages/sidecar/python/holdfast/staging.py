from __future__ import annotations

import ctypes
import mmap
from ctypes import c_size_t, c_uint, c_uint64, c_void_p

from .cuda import Cuda
from .errors import HoldfastError
from .sidecar import Sidecar
from .tensors import HOST, UNKNOWN, Tensor

_ALIGNMENT = 16
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
        with cuda:
            self.stream = cuda.make("cuStreamCreate", c_uint(1))  # CU_STREAM_NON_BLOCKING
            self._before = cuda.make("cuEventCreate", c_uint(2))  # CU_EVENT_DISABLE_TIMING
            self._copied = cuda.make("cuEventCreate", c_uint(2 | 4))  # and CU_EVENT_INTERPROCESS

    def has_room_for(self, tensors: list[Tensor]) -> bool:
        device, host = _sizes(tensors)
        return 0 < self._size >= device + host and host <= (len(self._pinned) if self._pinned else 0)

    def reallocate(self, tensors: list[Tensor]) -> None:
        """Nobody reads it, and the sidecar has closed it. Raises HoldfastError OUT_OF_MEMORY, DEVICE_ERROR."""
        self._free()
        device, host = _sizes(tensors)
        size = max(_BLOCK, _aligned(device + host, _BLOCK))
        with self._cuda as cuda:
            try:
                self._address = cuda.make("cuMemAlloc_v2", c_size_t(size))
            except HoldfastError as error:
                rule = f"there is no room for the copy of the state that a save needs, {size} bytes: {error.message}"
                raise HoldfastError(error.code, rule) from error
            self._size = size
            if host:
                pages = mmap.mmap(-1, _aligned(host, mmap.PAGESIZE))
                length, flags = c_size_t(len(pages)), c_uint(1)  # CU_MEMHOSTREGISTER_PORTABLE
                cuda.call("cuMemHostRegister_v2", c_void_p(_address_of(pages)), length, flags)
                self._pinned = pages

    def handles(self) -> tuple[bytes, bytes]:
        """By which the sidecar opens the memory and the event."""
        memory, event = ctypes.create_string_buffer(64), ctypes.create_string_buffer(64)
        with self._cuda as cuda:
            cuda.call("cuIpcGetMemHandle", memory, c_uint64(self._address))
            cuda.call("cuIpcGetEventHandle", event, c_uint64(self._copied))
        return memory.raw, event.raw

    def copy(self, groups: dict[str, dict[str, Tensor]]) -> dict[str, list]:
        """Queues the copies behind what the tensors' streams have to do; those wait for the copies, and nobody else.

        Returns each group's [name, dtype, shape, offset].
        """
        placed = _placed([tensor for names in groups.values() for tensor in names.values()])
        offsets = {tensor.identity: offset for offset, tensor in placed}
        streams = {tensor.stream for _, tensor in placed if tensor.stream is not None}
        with self._cuda as cuda:
            self._check_devices(groups)
            copies = self._copies(placed)
            for stream in streams:
                cuda.order(self._before, stream, self.stream)
            cuda.copy(copies, self.stream)
            cuda.call("cuEventRecord", c_uint64(self._copied), c_uint64(self.stream))
            for stream in streams:
                cuda.call("cuStreamWaitEvent", c_uint64(stream), c_uint64(self._copied), c_uint(0))
            if any(tensor.device != HOST and tensor.stream is None for _, tensor in placed):
                # Whoever changes them next cannot be told to wait.
                cuda.call("cuStreamSynchronize", c_uint64(self.stream))
        return {
            group: [[name, each.dtype, each.shape, offsets[each.identity]] for name, each in names.items()]
            for group, names in groups.items()
        }

    def close(self) -> None:
        self._free()
        with self._cuda as cuda:
            for event in (self._before, self._copied):
                cuda.call("cuEventDestroy_v2", c_uint64(event))
            cuda.call("cuStreamDestroy_v2", c_uint64(self.stream))
        self._cuda.release()

    def _copies(self, placed: list[tuple[int, Tensor]]) -> list[tuple[int, int, int]]:
        on_device = [(offset, tensor) for offset, tensor in placed if tensor.device != HOST and tensor.size]
        on_host = [(offset, tensor) for offset, tensor in placed if tensor.device == HOST and tensor.size]
        copies = [(self._address + offset, tensor.address, tensor.size) for offset, tensor in on_device]
        if on_host:
            pinned, first, (last, tensor) = _address_of(self._pinned), on_host[0][0], on_host[-1]
            for offset, each in on_host:
                ctypes.memmove(pinned + offset - first, each.address, each.size)
            copies.append((self._address + first, pinned, last - first + tensor.size))
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
        with self._cuda as cuda:
            if self._pinned:
                cuda.call("cuMemHostUnregister", c_void_p(_address_of(self._pinned)))
                self._pinned = None
            if self._size:
                cuda.call("cuMemFree_v2", c_uint64(self._address))
                self._size, self.opened_by = 0, None


def _placed(tensors: list[Tensor]) -> list[tuple[int, Tensor]]:
    """At which offset each goes: first what is on the device, then what is on the host. Tied tensors go once."""
    unique = {tensor.identity: tensor for tensor in tensors}.values()
    placed, offset = [], 0
    for tensor in sorted(unique, key=lambda tensor: tensor.device == HOST):
        placed.append((offset, tensor))
        offset += _aligned(tensor.size, _ALIGNMENT)
    return placed


def _sizes(tensors: list[Tensor]) -> tuple[int, int]:
    """Bytes of what is on the device, and on the host."""
    unique = {tensor.identity: tensor for tensor in tensors}.values()
    device = sum(_aligned(tensor.size, _ALIGNMENT) for tensor in unique if tensor.device != HOST)
    return device, sum(_aligned(tensor.size, _ALIGNMENT) for tensor in unique if tensor.device == HOST)


def _aligned(size: int, to: int) -> int:
    return (size + to - 1) // to * to


def _address_of(pages: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(pages))
