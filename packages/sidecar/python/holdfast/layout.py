from __future__ import annotations

from .tensors import HOST, Tensor

_ALIGNMENT = 16
TOKEN_BYTES = 16


class Layout:
    """Where in the staging memory it all goes: what is on the device, what is on the host, and behind it the copy's token."""

    def __init__(self, groups: dict[str, dict[str, Tensor]]):
        self.groups = groups
        unique: dict[tuple, Tensor] = {}  # tied tensors go once
        for names in groups.values():
            for tensor in names.values():
                unique[tensor[:4]] = tensor
        self._offsets: dict[tuple, int] = {}
        self.on_device = self._place([tensor for tensor in unique.values() if tensor.device != HOST], 0)
        self.host_start = self._end
        self.on_host = self._place([tensor for tensor in unique.values() if tensor.device == HOST], self._end)
        self.host_size = self._end - self.host_start
        self.token_start = self._end
        self.size = self._end + TOKEN_BYTES

    def _place(self, tensors: list[Tensor], offset: int) -> list[tuple[int, Tensor]]:
        placed = []
        for tensor in tensors:
            self._offsets[tensor[:4]] = offset
            if tensor.size:
                placed.append((offset, tensor))
            offset += aligned(tensor.size, _ALIGNMENT)
        self._end = offset
        return placed

    def described(self) -> dict[str, list]:
        """For the sidecar: each group's [name, dtype, shape, offset]."""
        return {
            group: [[name, each.dtype, each.shape, self._offsets[each[:4]]] for name, each in names.items()]
            for group, names in self.groups.items()
        }


def aligned(size: int, to: int) -> int:
    return (size + to - 1) // to * to
