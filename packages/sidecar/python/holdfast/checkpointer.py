from __future__ import annotations

import atexit
import os
import weakref
from typing import Any, Callable

from .checkpoint import Checkpoint
from .cuda import Cuda
from .errors import HoldfastError
from .layout import Layout
from .save import Save
from .sidecar import Sidecar, default_command
from .staging import Staging
from .tensors import TensorReader
from .turn import Turn
from .tree import Tree, encode_extra, encode_metrics, encode_training, whole_number

_LOOK_SECONDS = 1.0
"""So often is asked whether a copy can still be made that is waited for."""

_RESTART = "Start a new process, and restore the last good checkpoint"


class Checkpointer:
    """Saves checkpoints into the directory `root`: of one process, with tensors on one CUDA device and on the host.

    keep_last, keep_best: which checkpoints stay once a newer one was committed, read back and found good. keep_best is
      "loss", "loss:3" (the three lowest) or "accuracy:1:max", or a list of such. Default: all stay.
    device: as CUDA counts them in this process (CUDA_VISIBLE_DEVICES).
    when_busy: what `save` does while the one before is still being read out of the device: "wait" for that, or "skip".
    host_memory: the most bytes that the sidecar takes for what is on its way to the disk. Default 256 MiB.
    timeout: seconds without any progress after which a save is given up. Default 300; math.inf for never.
    on_failure: called with a save that failed, on a thread of its own. Without it, a failure that nobody asked for
      (`Save.wait`) is raised by the next `save`, after that one is on its way, or by `close`.
    command: what starts the sidecar. Default: node with the program of this package, or holdfast-sidecar of the PATH.
    """

    def __init__(
        self,
        root: str | os.PathLike,
        *,
        keep_last: int | None = None,
        keep_best: str | list[str] | None = None,
        device: int = 0,
        when_busy: str = "wait",
        host_memory: int | None = None,
        timeout: float | None = None,
        on_failure: Callable[[HoldfastError, Save], None] | None = None,
        command: list[str] | None = None,
    ):
        if when_busy not in ("wait", "skip"):
            raise HoldfastError("INVALID_ARGUMENT", f'when_busy is {when_busy!r}; it has to be "wait" or "skip"')
        options = [("device", device), ("keep-last", keep_last), ("host-memory", host_memory), ("timeout", timeout)]
        options += [("keep-best", best) for best in ([keep_best] if isinstance(keep_best, str) else keep_best or [])]
        named = [f"--{name}={value}" for name, value in options if value is not None]
        self._command = [*(command or default_command()), *named, "--", os.fspath(root)]
        self._device = device
        self._skips = when_busy == "skip"
        self._on_failure = on_failure
        self._sidecar: Sidecar | None = None
        self._staging: Staging | None = None
        self._saves: list[Save] = []  # that have not ended, or that nobody asked about
        self._closed = False
        self._turn = Turn()  # the staging memory holds one save's copy
        _living.add(self)
        atexit.register(self.close)

    def save(
        self,
        step: int,
        state: dict[str, Any],
        *,
        metrics: dict[str, float] | None = None,
        training: dict[str, Any] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> Save | None:
        """Copies the tensors of `state`, which may change as soon as it returns. None if it was skipped.

        state: named groups, each of nested dicts and lists of tensors: {"model": model.state_dict(), …}. Numbers,
          strings and None in it come back from `Checkpoint.load` as well.
        metrics: finite numbers by name. training: "epoch", "learning_rate", "metadata". extra: anything of dicts, lists,
          tuples, numbers, strings and None: the state of random generators, the position in the data.
        Raises HoldfastError: of this save, before it began; of the sidecar that cannot be started; or of an earlier
        save that nobody asked about, and then this one is on its way all the same.
        """
        with self._turn:
            return self._save(step, state, metrics, training, extra)

    def _save(
        self,
        step: int,
        state: dict[str, Any],
        metrics: dict[str, float] | None,
        training: dict[str, Any] | None,
        extra: dict[str, Any] | None,
    ) -> Save | None:
        self._assert_open()
        if self._skips and not all(save.drained.is_set() for save in self._saves):
            self._raise_unseen(self._saves)
            return None
        order = {
            "step": whole_number(step, "step"),
            "metrics": encode_metrics(metrics or {}),
            "training": encode_training(training or {}),
        }
        tree = self._read(state)
        order["extra"] = encode_extra(extra or {}, tree.trees)
        layout = Layout(tree.groups)
        staging, sidecar = self._ready_for(layout)
        token = {"offset": layout.token_start, "bytes": staging.copy(layout).hex()}
        before, save = self._saves, Save(step, self._on_failure)
        self._saves = [*before, save]
        sidecar.send(save, "save", **order, token=token, groups=layout.described())
        self._raise_unseen(before)
        return save

    def prepare(self, state: dict[str, Any]) -> None:
        """Starts the sidecar, and allocates what saves of this state need, so that the first one does not stall."""
        with self._turn:
            self._assert_open()
            self._ready_for(Layout(self._read(state).groups))

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint of which every byte was read and found good. None only if there is none at all.

        Raises HoldfastError: NO_GOOD_CHECKPOINT if all are broken.
        """
        with self._turn:
            self._assert_open()
            found = self._running_sidecar().ask("latest")
        return Checkpoint(found) if found else None

    def close(self) -> None:
        """Waits for what is being written, ends the sidecar, and frees everything. Python calls it at its end.

        Raises HoldfastError: the first failure of a save that nobody asked about.
        """
        if self._closed:
            return
        with self._turn:
            self._closed = True
        atexit.unregister(self.close)
        self._wait_until_drained()
        for save in self._saves:
            save.ended.wait()
        if self._sidecar:
            self._sidecar.end()
        if self._staging:
            self._staging.close()
        self._raise_unseen(self._saves)

    def __enter__(self) -> Checkpointer:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        try:
            self.close()
        except HoldfastError:
            if kind is None:  # what is on its way already says more
                raise

    def _assert_open(self) -> None:
        if self._closed:
            rule = "this Checkpointer was closed, or is of the process that this one was forked from: make another"
            raise HoldfastError("CLOSED", rule)

    def _raise_unseen(self, saves: list[Save]) -> None:
        failures = [failure for failure in [save.unseen_failure() for save in saves] if failure]
        self._saves = [save for save in self._saves if save not in saves or not save.done]
        if failures:
            raise failures[0]

    def _running_sidecar(self) -> Sidecar:
        if self._sidecar is None or self._sidecar.death:
            self._sidecar = Sidecar(self._command)
        return self._sidecar

    def _read(self, state: dict[str, Any]) -> Tree:
        self._staging = self._staging or Staging(Cuda(self._device))
        return Tree(state, TensorReader(self._staging.stream))

    def _ready_for(self, layout: Layout) -> tuple[Staging, Sidecar]:
        """Memory that nobody reads any more, is large enough, and that the sidecar has opened."""
        sidecar = self._running_sidecar()
        self._wait_until_drained()
        staging = self._staging
        if not staging.has_room_for(layout):
            sidecar.ask("release")
            staging.reallocate(layout)
        if staging.opened_by is not sidecar:
            sidecar.ask("open", **staging.handles())
            staging.opened_by = sidecar
        return staging, sidecar

    def _wait_until_drained(self) -> None:
        """The sidecar waits for the copy's event, which may never come if the context was lost: then saves end here."""
        for save in self._saves:
            while not save.drained.wait(_LOOK_SECONDS):
                try:
                    if self._staging.is_copied():
                        save.drained.wait()
                except HoldfastError as error:
                    if error.code != "DEVICE_LOST":  # it may run yet, and be read
                        continue
                    rule = f"the copy of step {save.step} on the device may never have been made: {error.message}. {_RESTART}"
                    save.end(None, HoldfastError(error.code, rule))

    def _forget(self) -> None:
        self._closed = True
        if self._sidecar:
            self._sidecar.let_go()


_living: weakref.WeakSet[Checkpointer] = weakref.WeakSet()


def _forget_all() -> None:
    """In a forked process: the sidecar is to end with the trainer, not with its children (of a DataLoader)."""
    for checkpointer in list(_living):
        checkpointer._forget()


os.register_at_fork(after_in_child=_forget_all)
