"""Asynchronous, crash-safe checkpoints for trainers whose tensors are in CUDA memory: PyTorch, CuPy, JAX.

    checkpoints = Checkpointer("checkpoints", keep_last=3)
    checkpoints.save(step, {"model": model.state_dict(), "optimizer": optimizer.state_dict()})

`save` copies the tensors on the device, in the order of the caller's stream, into one allocation that is made once.
Another process, the sidecar, reads that through CUDA IPC and writes it while training goes on.

Needs Linux and Python 3.8, and nothing but its standard library: torch is imported by whoever passes its tensors.
"""

from .checkpoint import Checkpoint
from .checkpointer import Checkpointer
from .errors import HoldfastError
from .save import Committed, Save

__all__ = ["Checkpoint", "Checkpointer", "Committed", "HoldfastError", "Save"]
