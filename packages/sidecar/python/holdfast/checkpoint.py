from __future__ import annotations

import mmap
import sys
from pathlib import Path
from typing import Any, Callable

from .errors import HoldfastError
from .tensors import numpy_from, torch_from
from .tree import TREES, decode


class Checkpoint:
    """A checkpoint of which every byte was read and found good."""

    def __init__(self, found: dict[str, Any]):
        self.id: str = found["id"]
        self.step: int = found["step"]
        self.directory = Path(found["directory"])
        """Its files. model.safetensors has the group "model", and opens in every reader of safetensors."""
        self.metrics: dict[str, float] = found["metrics"]
        self.training: dict[str, Any] = {
            "epoch": found["training"]["epoch"],
            "learning_rate": found["training"]["learningRate"],
            "metadata": found["training"]["metadata"],
        }
        self.extra: Any = found.get("extra")
        self.passed_over: list[str] = found["passedOver"]
        """Newer checkpoints that are broken, and why."""
        self._tensors: list[dict[str, Any]] = found["tensors"]
        self._trees: list[list] | None = None
        if isinstance(self.extra, dict) and TREES in self.extra:  # or else it was not written from Python
            self._trees = self.extra.pop(TREES)
            self.extra = self._decoded(lambda: decode(self.extra, {}))

    def load(self, make: Callable[[memoryview, str, list[int]], Any] | None = None) -> dict[str, Any]:
        """The state as it was passed to `save`: the same groups, dicts and lists, in their order, and tensors in the host's memory.

        They are torch's if torch was imported, and else numpy's; `make(memory, dtype, shape)` makes others. Their memory
        is the files', which is read when it is first touched; changing it changes no file.
        """
        make = make or (torch_from if "torch" in sys.modules else numpy_from)
        files: dict[str, memoryview] = {}
        made: dict[tuple, Any] = {}  # tied tensors are one
        groups: dict[str, dict[str, Any]] = {}
        for tensor in self._tensors:
            path, start, end, dtype, shape = (tensor[key] for key in ("path", "start", "end", "dtype", "shape"))
            if path not in files:
                with open(self.directory / path, "rb") as file:
                    files[path] = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
            key = (path, start, end, dtype, *shape)
            if key not in made:
                made[key] = make(files[path][start:end], dtype, shape)
            groups.setdefault(tensor["group"], {})[tensor["name"]] = made[key]
        trees = self._trees
        if trees is None:
            return groups
        return self._decoded(lambda: {group: decode(tree, groups.get(group, {})) for group, tree in trees})

    def _decoded(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except (KeyError, TypeError, ValueError) as error:
            rule = f"{self.id}: training_state.json: extra is not what this package writes ({error!r})"
            raise HoldfastError("CHECKPOINT_CORRUPT", rule) from error
