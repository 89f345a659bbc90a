"""Tensors of others: where they lie, and what they are. And tensors made for others, of a checkpoint's bytes."""

from __future__ import annotations

import ctypes
import math
import numbers
import sys
from typing import Any, NamedTuple

from .errors import HoldfastError

HOST = -1
UNKNOWN = -2
FOLLOWED = -1

# safetensors' names of dtypes, by torch's, by the array interface's and by DLPack's (code, bits).
_TORCH = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "int16": "I16", "uint16": "U16", "int32": "I32", "uint32": "U32",
    "int64": "I64", "uint64": "U64", "float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64",
    "complex64": "C64", "float8_e5m2": "F8_E5M2", "float8_e4m3fn": "F8_E4M3", "float8_e8m0fnu": "F8_E8M0",
    "float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ",
}  # fmt: skip
_NUMPY = {
    "b1": "BOOL", "u1": "U8", "i1": "I8", "i2": "I16", "u2": "U16", "i4": "I32", "u4": "U32", "i8": "I64", "u8": "U64",
    "f2": "F16", "f4": "F32", "f8": "F64", "c8": "C64",
}  # fmt: skip
_DLPACK = {
    (0, 8): "I8", (0, 16): "I16", (0, 32): "I32", (0, 64): "I64", (1, 8): "U8", (1, 16): "U16", (1, 32): "U32",
    (1, 64): "U64", (2, 16): "F16", (2, 32): "F32", (2, 64): "F64", (4, 16): "BF16", (5, 64): "C64", (6, 8): "BOOL",
}  # fmt: skip


class Tensor(NamedTuple):
    """Dense, in C order. Of tied ones, the first four are equal."""

    address: int
    size: int
    """Bytes."""
    dtype: str
    shape: tuple[int, ...]
    device: int
    """As CUDA counts them; or HOST, or UNKNOWN: one that CUDA has to be asked for."""
    stream: int | None
    """Where it was made, and will be changed. Or FOLLOWED: not known, but our stream waits for what makes it. None on a
    device: nothing is known."""
    owner: Any
    """Keeps the memory."""


class TensorReader:
    """`stream` is where the tensors will be copied."""

    def __init__(self, stream: int):
        self._stream = stream
        self._torch = sys.modules.get("torch")
        self._torch_dtypes = {getattr(self._torch, name, None): ours for name, ours in _TORCH.items()} if self._torch else {}
        self._torch_streams: dict[int, int] = {}

    def read(self, value: Any, path: str) -> Tensor | None:
        """None if it is no tensor. Raises HoldfastError INVALID_STATE for one that cannot be saved."""
        if value is None or isinstance(value, (str, bytes, int, float, numbers.Number)):
            return None
        numpy = sys.modules.get("numpy")
        if numpy is not None and isinstance(value, numpy.generic):
            return None  # a number: the memory that its interface names is gone by now
        if self._torch is not None and isinstance(value, self._torch.Tensor):
            return self._of_torch(value, path)
        interface = getattr(value, "__cuda_array_interface__", None)
        if interface is not None:
            stream, owner = interface.get("stream"), value
            if stream is None:  # JAX's and Numba's: that says nothing of what makes it
                stream, owner = self._followed(value)
            return _of_interface(interface, owner, path, UNKNOWN, stream)
        if hasattr(value, "__array_interface__"):
            return _of_interface(value.__array_interface__, value, path, HOST, None)
        return self._of_dlpack(value, path) if hasattr(value, "__dlpack__") else None

    def _of_torch(self, tensor: Any, path: str) -> Tensor:
        torch = self._torch
        if hasattr(tensor, "to_local"):
            raise _refused(path, "is part of a sharded tensor: pass its full_tensor()")
        if tensor.layout is not torch.strided or tensor.device.type not in ("cuda", "cpu"):
            raise _refused(path, f"is {tensor.layout} on {tensor.device}: pass a dense tensor of a CUDA device or the CPU")
        dtype = self._torch_dtypes.get(tensor.dtype)
        if dtype is None:
            raise _refused(path, f"is of {tensor.dtype}, which safetensors cannot hold")
        if not tensor.is_contiguous() or tensor.is_conj() or tensor.is_neg():
            with torch.no_grad():  # on the caller's stream, and kept until our copy is queued behind it
                tensor = tensor.resolve_conj().resolve_neg().contiguous()
        size = tensor.numel() * tensor.element_size()
        device = tensor.device.index if tensor.device.type == "cuda" else HOST
        stream = None if device == HOST else self._torch_stream(device)
        return Tensor(_address_of_torch(tensor, size, path), size, dtype, tuple(tensor.shape), device, stream, tensor)

    def _torch_stream(self, device: int) -> int:
        if device not in self._torch_streams:
            self._torch_streams[device] = self._torch.cuda.current_stream(device).cuda_stream
        return self._torch_streams[device]

    def _followed(self, value: Any) -> tuple[int | None, Any]:
        """Has our stream wait for what makes it, where it speaks DLPack. Whatever it fails with, there is another way."""
        try:
            return FOLLOWED, (value, value.__dlpack__(stream=self._stream))
        except Exception:
            return None, value

    def _of_dlpack(self, value: Any, path: str) -> Tensor:
        kind, device = value.__dlpack_device__()
        if kind not in (1, 2, 3, 13):  # kDLCPU, kDLCUDA, kDLCUDAHost, kDLCUDAManaged
            raise _refused(path, f"is on a device of DLPack's kind {kind}, which is neither CUDA nor the host")
        on_device = kind in (2, 13)
        # The producer makes our stream wait for what it has under way. While the capsule lives, so does the memory.
        capsule = value.__dlpack__(stream=self._stream) if on_device else value.__dlpack__()
        tensor = _DLTensor.from_address(_pointer(capsule, b"dltensor"))
        dtype = _DLPACK.get((tensor.code, tensor.bits)) if tensor.lanes == 1 else None
        if dtype is None:
            raise _refused(path, f"is of DLPack's type {tensor.code} of {tensor.bits} bits, which safetensors cannot hold")
        shape = tuple(tensor.shape[: tensor.ndim])
        if tensor.strides and not _is_dense(shape, tensor.strides[: tensor.ndim]):
            raise _refused(path, "is not contiguous: make it so first")
        address, size = (tensor.data or 0) + tensor.byte_offset, math.prod(shape) * tensor.bits // 8
        return Tensor(address, size, dtype, shape, device if on_device else HOST, FOLLOWED if on_device else None, (value, capsule))


def _address_of_torch(tensor: Any, size: int, path: str) -> int:
    """Wrappers of other tensors (fake, functional, quantized ones) have none, which some say by raising something."""
    cause, address = None, 0
    try:
        address = tensor.data_ptr()
    except Exception as error:
        cause = error
    if address or (size == 0 and cause is None):
        return address
    rule = f"is a {type(tensor).__name__}, which has no memory of its own: pass the tensors in it"
    raise _refused(path, f"{rule} ({cause})" if cause else rule) from cause


def _of_interface(interface: dict, owner: Any, path: str, device: int, stream: int | None) -> Tensor:
    """Of numpy and of CUDA: they differ in where the memory is."""
    typestr, shape = interface["typestr"], tuple(int(dimension) for dimension in interface["shape"])
    dtype = _NUMPY.get(typestr[1:]) if typestr[0] in "<|" else None
    if dtype is None:
        raise _refused(path, f"is of {typestr}, which safetensors cannot hold")
    item, strides = int(typestr[2:]), interface.get("strides")
    if strides is not None and not _is_dense(shape, [stride / item for stride in strides]):
        raise _refused(path, "is not contiguous: pass ascontiguousarray of it, which numpy and cupy have")
    return Tensor(interface["data"][0] or 0, math.prod(shape) * item, dtype, shape, device, stream, owner)


class _DLTensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int), ("device_id", ctypes.c_int), ("ndim", ctypes.c_int),
        ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]  # fmt: skip


_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_GetPointer", ctypes.pythonapi))


def _is_dense(shape: tuple[int, ...], strides: list) -> bool:
    expected = 1
    for dimension, stride in zip(reversed(shape), reversed(strides)):
        if dimension != 1 and stride != expected:
            return 0 in shape
        expected *= dimension
    return True


def torch_from(memory: memoryview, dtype: str, shape: list[int]) -> Any:
    torch = sys.modules["torch"]
    name = next(name for name, ours in _TORCH.items() if ours == dtype) if dtype in _TORCH.values() else ""
    kind = getattr(torch, name, None)
    if kind is None:
        raise HoldfastError("UNSUPPORTED", f"torch {torch.__version__} has no dtype for {dtype}: pass make")
    return torch.frombuffer(memory, dtype=kind).reshape(shape) if len(memory) else torch.empty(shape, dtype=kind)


def numpy_from(memory: memoryview, dtype: str, shape: list[int]) -> Any:
    import numpy

    kind = next((kind for kind, ours in _NUMPY.items() if ours == dtype), None)
    if kind is None:
        raise HoldfastError("UNSUPPORTED", f"numpy has no dtype for {dtype}: import torch first, or pass make")
    return numpy.frombuffer(memory, dtype="<" + kind).reshape(shape)


def _refused(path: str, rule: str) -> HoldfastError:
    return HoldfastError("INVALID_STATE", f"{path} {rule}")
