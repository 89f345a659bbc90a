"""The process that writes: lines of JSON to it, and from it. Its side of that is src/messages.ts."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

from .errors import HoldfastError


class Request:
    """What was asked of the sidecar."""

    def __init__(self) -> None:
        self.drained = threading.Event()
        """Of a save: the staging memory was read, or will not be."""
        self.ended = threading.Event()
        self.failure: HoldfastError | None = None
        self._result: Any = None
        self._ending = threading.Lock()

    def end(self, result: Any, failure: HoldfastError | None) -> bool:
        """Whether this was what ended it: whoever comes first does, the answer or who gives it up."""
        with self._ending:
            if self.ended.is_set():
                return False
            self._result, self.failure = result, failure
            self.drained.set()
            self.ended.set()
            return True

    def answer(self) -> Any:
        """Waits for it. Raises HoldfastError."""
        self.ended.wait()
        if self.failure:
            raise self.failure
        return self._result


class Sidecar:
    def __init__(self, command: list[str]):
        try:
            # In a session of its own: what a terminal or a scheduler sends to the trainer's group is the trainer's.
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        except OSError as error:
            raise HoldfastError("UNSUPPORTED", f"the sidecar does not start ({command[0]}): {error}") from error
        self.death: HoldfastError | None = None
        """Set once it has ended."""
        self._lock = threading.Lock()
        self._requests: dict[int, Request] = {}
        self._numbers = itertools.count(1)
        self._reader = threading.Thread(target=self._read, name="holdfast", daemon=True)
        self._reader.start()

    def ask(self, kind: str, **fields: Any) -> Any:
        """Asks, and waits for the answer. Raises HoldfastError."""
        request = Request()
        self.send(request, kind, **fields)
        return request.answer()

    def send(self, request: Request, kind: str, **fields: Any) -> None:
        """Asks. The request ends in any case, also where Ctrl-C comes amid this."""
        number = next(self._numbers)
        try:
            line = json.dumps({"request": number, "type": kind, **fields}, allow_nan=False) + "\n"
            with self._lock:
                death = self.death
                if death is None:
                    self._requests[number] = request
            if death is None:
                self._write(line.encode())
            else:
                request.end(None, death)
        except BaseException as error:
            request.end(None, HoldfastError("SINK_FAILED", f"the sidecar was not asked: {error!r} came before"))
            raise

    def _write(self, line: bytes) -> None:
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except OSError:
            pass  # it is dead: the reader finds that out too, and ends the request
        except BaseException:  # half a line was sent, to which nothing can be added
            self._process.kill()
            self._reader.join()
            raise

    def end(self) -> None:
        """Lets it finish what it has, and waits for its end."""
        self.let_go()
        self._reader.join()

    def let_go(self) -> None:
        """It ends when nobody holds its standard input any more."""
        try:
            self._process.stdin.close()
        except OSError:
            pass

    def _read(self) -> None:
        """Whatever ends it: nobody waits for answers any more."""
        try:
            self._read_answers()
        except BaseException:
            self._process.kill()
            raise
        finally:
            self._die(self._process.wait())

    def _read_answers(self) -> None:
        for line in self._process.stdout:
            message = json.loads(line)
            number, kind = message["request"], message["type"]
            if kind == "drained":
                self._requests[number].drained.set()
                continue
            with self._lock:
                request = self._requests.pop(number)
            failure = HoldfastError(message["code"], message["message"]) if kind == "failed" else None
            request.end(message.get("result"), failure)

    def _die(self, code: int) -> None:
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        death = HoldfastError(
            "SINK_FAILED",
            f"the sidecar (process {self._process.pid}) {how}, and may have said why on standard error: what it was "
            "writing is lost, what was committed is untouched, and the next save starts another one",
        )
        with self._lock:
            self.death = death
            orphans, self._requests = list(self._requests.values()), {}
        for request in orphans:
            request.end(None, death)


def default_command() -> list[str]:
    """Node and the program of this package; or what `npm install -g` put on the PATH."""
    program = Path(__file__).resolve().parents[2] / "dist" / "holdfast-sidecar.js"
    node, installed = shutil.which("node"), shutil.which("holdfast-sidecar")
    if node and program.exists():
        return [node, str(program)]
    if installed:
        return [installed]
    raise HoldfastError(
        "UNSUPPORTED",
        "there is no sidecar: install Node 20.19 or newer and the npm package @holdfast/sidecar, or pass command=[…]",
    )
