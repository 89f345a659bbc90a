from __future__ import annotations

import threading

from .errors import HoldfastError


class Turn:
    """One call at a time: another thread waits for its turn, a signal handler amid a call of its own thread is refused."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._taken = False

    def __enter__(self) -> None:
        self._lock.acquire()
        if self._taken:  # by this very thread: a lock of another kind would wait for itself
            self._lock.release()
            rule = "this was called amid another call of the same Checkpointer: in a signal handler, set a flag, and save in the loop"
            raise HoldfastError("INVALID_ARGUMENT", rule)
        self._taken = True

    def __exit__(self, *_: object) -> None:
        self._taken = False
        self._lock.release()
