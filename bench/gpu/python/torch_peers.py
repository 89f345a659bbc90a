"""torch.save, and torch.distributed.checkpoint.async_save in each configuration that this torch has."""
import dataclasses
import inspect
import os
import socket

import torch
import torch.distributed as dist

from skip import Skip

# "cpu" only to try this program out where there is no GPU.
DEVICE = os.environ.get("HOLDFAST_PEER_DEVICE", "cuda")


def synchronize():
    if DEVICE == "cuda":
        torch.cuda.current_stream().synchronize()


def state_of(tensors):
    """By group and name, of random numbers on the device."""
    if DEVICE == "cuda" and not torch.cuda.is_available():
        raise Skip(f"torch {torch.__version__} finds no CUDA device")
    state = {}
    for tensor in tensors:
        group = state.setdefault(tensor["group"], {})
        group[tensor["name"]] = torch.rand(tensor["shape"], device=DEVICE)
    synchronize()
    return state


class TorchSave:
    def __init__(self, tensors):
        self._state = state_of(tensors)

    def begin(self, path):
        torch.save(self._state, path)

    def staged(self):
        synchronize()

    def written(self):
        pass

    def close(self):
        pass


class AsyncSave:
    """`stager` and `process` say which configuration it is."""

    def __init__(self, tensors, stager=False, process=False):
        try:
            import torch.distributed.checkpoint as dcp
        except ImportError as error:
            raise Skip(f"torch {torch.__version__}: {error}") from error
        self._save = getattr(dcp, "async_save", None)
        if self._save is None:
            raise Skip(f"torch {torch.__version__} has no async_save")
        self._parameters = inspect.signature(self._save).parameters
        self._options = {}
        self._stager = None
        self._writer = None
        if process:
            self._in_process(dcp)
        if stager:
            self._pinned()
        self._state = state_of(tensors)
        _join_group()

    def _in_process(self, dcp):
        kinds = getattr(getattr(dcp, "state_dict_saver", None), "AsyncCheckpointerType", None)
        if kinds is None or "async_checkpointer_type" not in self._parameters:
            raise Skip(f"torch {torch.__version__} has no process-based async_save")
        self._options["async_checkpointer_type"] = kinds.PROCESS

    def _pinned(self):
        from torch.distributed.checkpoint import staging

        if hasattr(staging, "StagingOptions") and "async_stager" in self._parameters:
            every = {field.name: True for field in dataclasses.fields(staging.StagingOptions)}
            self._stager = staging.DefaultStager(staging.StagingOptions(**every))
            self._options["async_stager"] = self._stager
            return
        # Before there were stagers of their own, the writer staged; it keeps pinned memory if it is told to.
        from torch.distributed.checkpoint import FileSystemWriter

        if "cache_staged_state_dict" not in inspect.signature(FileSystemWriter.__init__).parameters:
            raise Skip(f"torch {torch.__version__} has no stager with pinned memory")
        self._writer = lambda path: FileSystemWriter(path, cache_staged_state_dict=True)

    def begin(self, path):
        options = dict(self._options)
        if self._writer is not None:
            # The pinned memory is the writer's: one for all saves, as a loop would keep it.
            writer = options["storage_writer"] = self._kept_writer(path)
            writer.reset(path)
        self._response = self._save(self._state, checkpoint_id=path, **options)

    def _kept_writer(self, path):
        if not hasattr(self, "_kept"):
            self._kept = self._writer(path)
        return self._kept

    def staged(self):
        staging = getattr(self._response, "staging_completion", None)
        if staging is not None:
            staging.result()
        synchronize()

    def written(self):
        getattr(self._response, "upload_completion", self._response).result()

    def close(self):
        if self._stager is not None:
            self._stager.close()
        if dist.is_initialized():
            dist.destroy_process_group()


def _join_group():
    """DCP wants a process group with a CPU backend, also where it is alone."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK="0", WORLD_SIZE="1", LOCAL_RANK="0")
    dist.init_process_group("gloo")
