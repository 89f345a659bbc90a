"""A state as named tensors, and as JSON that says how they hung together and what lay between them."""

from __future__ import annotations

import math
import numbers
from typing import Any

from .errors import HoldfastError
from .tensors import Tensor, TensorReader

TREES = "$trees"
"""In a checkpoint's `extra`: [group, tree] of each, in their order. Its presence says that Python wrote it all."""

LARGEST = 2**53 - 1
"""The largest whole number that JavaScript's JSON holds exactly."""


class Tree:
    """A state, looked through."""

    def __init__(self, state: dict[str, Any], reader: TensorReader):
        self.groups: dict[str, dict[str, Tensor]] = {}
        self.trees: list[tuple[str, Any]] = []
        self._reader = reader
        if not isinstance(state, dict) or not all(isinstance(group, str) for group in state):
            raise HoldfastError("INVALID_STATE", 'the state has to be a dict of groups by name: {"model": …}')
        for group, value in state.items():
            if not isinstance(value, (dict, list, tuple)):
                raise HoldfastError("INVALID_STATE", f"{group} is a {_kind_of(value)}; a group holds named tensors")
            names = self.groups[group] = {}
            tree = self._add(value, names, group, "")
            named = {name: {"$tensor": name} for name in names}
            self.trees.append((group, {"$tensors": list(names)} if tree == named else tree))

    def _add(self, value: Any, names: dict[str, Tensor], path: str, name: str) -> Any:
        def child(key: Any, item: Any) -> Any:
            return self._add(item, names, f"{path}.{key}", f"{name}.{key}" if name else str(key))

        if isinstance(value, dict):
            return _encode_dict([(key, child(key, item)) for key, item in value.items()], path)
        if isinstance(value, (list, tuple)):
            return _encode_list(value, [child(index, item) for index, item in enumerate(value)])
        tensor = self._reader.read(value, path)
        if tensor is None:
            return _encode(value, path)
        if name in names:
            raise HoldfastError("INVALID_STATE", f"{path} has the name {name}, as another tensor of its group has")
        names[name] = tensor
        return {"$tensor": name}


def decode(value: Any, tensors: dict[str, Any]) -> Any:
    """What was encoded. Raises KeyError, TypeError, ValueError for what never was."""
    if isinstance(value, list):
        return [decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    tag = next(iter(value), "")
    if not tag.startswith("$"):
        return {key: decode(item, tensors) for key, item in value.items()}
    (content,) = value.values()
    if tag == "$tensor":
        return tensors[content]
    if tag == "$tensors":
        return {name: tensors[name] for name in content}
    if tag == "$tuple":
        return tuple(decode(item, tensors) for item in content)
    if tag == "$dict":
        return {decode(key, tensors): decode(item, tensors) for key, item in content}
    return {"$int": int, "$float": float}[tag](content)


def encode_extra(extra: dict[str, Any], trees: list[tuple[str, Any]]) -> dict[str, Any]:
    if not isinstance(extra, dict) or not all(isinstance(key, str) and not key.startswith("$") for key in extra):
        raise HoldfastError("INVALID_ARGUMENT", "extra has to be a dict, whose keys are strings that begin with no $")
    return {**_encode(extra, "extra"), TREES: trees}


def encode_metrics(metrics: dict[str, Any]) -> dict[str, float]:
    return {str(name): _finite(value, f"metrics.{name}") for name, value in metrics.items()}


def encode_training(training: dict[str, Any]) -> dict[str, Any]:
    encoders = {
        "epoch": lambda epoch: ("epoch", whole_number(epoch, "training.epoch")),
        "learning_rate": lambda rate: ("learningRate", _finite(rate, "training.learning_rate")),
        "metadata": lambda metadata: ("metadata", {str(key): str(value) for key, value in metadata.items()}),
    }
    for name in training:
        if name not in encoders:
            raise HoldfastError("INVALID_ARGUMENT", f"training has {name!r}; it can have {', '.join(encoders)}")
    return dict(encoders[name](value) for name, value in training.items())


def whole_number(value: Any, name: str) -> int:
    if isinstance(value, numbers.Integral) and 0 <= value <= LARGEST:
        return int(value)
    raise HoldfastError("INVALID_ARGUMENT", f"{name} is {value!r}; it has to be a whole number ≥ 0")


def _finite(value: Any, name: str) -> float:
    number = float(value)
    if math.isfinite(number):
        return number
    raise HoldfastError("NOT_JSON", f"{name} is {number}, which JSON cannot hold: leave it out")


def _kind_of(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__name__}"


def _encode(value: Any, path: str) -> Any:
    """What JSON cannot hold, or JavaScript would change, gets a tag: {"$tuple": […]}."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, dict):
        return _encode_dict([(key, _encode(item, f"{path}.{key}")) for key, item in value.items()], path)
    if isinstance(value, (list, tuple)):
        return _encode_list(value, [_encode(item, f"{path}[{index}]") for index, item in enumerate(value)])
    if isinstance(value, numbers.Integral):
        number = int(value)
        return number if abs(number) <= LARGEST else {"$int": str(number)}
    if isinstance(value, numbers.Real):
        number = float(value)
        # JavaScript writes 1.0 as 1, which would come back as an int.
        return {"$float": repr(number)} if not math.isfinite(number) or number.is_integer() else number
    raise HoldfastError(
        "NOT_JSON",
        f"{path} is a {_kind_of(value)}, which is no tensor, and which JSON cannot hold: convert it first, or leave it out",
    )


def _encode_list(value: list | tuple, items: list) -> Any:
    return {"$tuple": items} if isinstance(value, tuple) else items


def _encode_dict(items: list[tuple[Any, Any]], path: str) -> dict[str, Any]:
    # JavaScript would have keys of digits come first.
    if all(isinstance(key, str) and not key.startswith("$") and not key.isdigit() for key, _ in items):
        return dict(items)
    return {"$dict": [[_encode(key, f"a key of {path}"), item] for key, item in items]}  # optimizers of torch have such
