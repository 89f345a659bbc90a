"""Holdfast's sidecar, as a program of torch calls it."""
import sys

from torch_peers import state_of, synchronize


def checkpointer(root, sidecar, **options):
    """`sidecar` says where its module lies, and what starts its process: this machine may have no Node of its own."""
    sys.path.append(sidecar["module"])
    from holdfast import Checkpointer

    return Checkpointer(root, command=sidecar["command"], **options)


class Sidecar:
    def __init__(self, tensors, root, sidecar):
        self._state = state_of(tensors)
        self._checkpoints = checkpointer(root, sidecar)

    def begin(self, path):
        step = int(path.rsplit("-", 1)[1])  # Holdfast calls the directory what peers.py calls it
        self._save = self._checkpoints.save(step, self._state)

    def staged(self):
        synchronize()

    def written(self):
        self._save.wait()

    def close(self):
        self._checkpoints.close()
