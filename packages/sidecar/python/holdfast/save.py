from __future__ import annotations

import threading
from typing import Any, Callable, NamedTuple

from .errors import HoldfastError
from .sidecar import Request


class Committed(NamedTuple):
    """A checkpoint that survives from here on."""

    id: str
    """The name of its directory: step-00000100."""
    bytes: int
    ms: float
    """From when the sidecar was asked until the commit."""
    housekeeping: str | None
    """What went wrong afterwards, while older checkpoints were to be removed."""


class Save(Request):
    """One checkpoint on its way."""

    def __init__(self, step: int, on_failure: Callable[[HoldfastError, Save], None] | None = None):
        super().__init__()
        self.step = step
        self._on_failure = on_failure
        self._looked_at = on_failure is not None

    @property
    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self.ended.is_set()

    def wait(self, timeout: float | None = None) -> Committed:
        """Waits for the commit: for at most `timeout` seconds, after which it raises TimeoutError, and the save goes on.

        Raises HoldfastError if the save failed. That costs this checkpoint alone: those before are untouched.
        """
        if not self.ended.wait(timeout):
            raise TimeoutError(f"step {self.step} is not committed after {timeout} s; the save goes on")
        self._looked_at = True
        result = self.answer()
        return Committed(result["id"], result["bytes"], result["ms"], result.get("housekeeping"))

    def end(self, result: Any, failure: HoldfastError | None) -> bool:
        ended = super().end(result, failure)
        if ended and failure and self._on_failure:
            # On a thread of its own: it may wait for other saves, and what it raises is Python's to print.
            threading.Thread(target=self._on_failure, args=(failure, self), name="holdfast-failure", daemon=True).start()
        return ended

    def unseen_failure(self) -> HoldfastError | None:
        """What nobody has asked about, once."""
        if self._looked_at or not self.done:
            return None
        self._looked_at = True
        return self.failure
