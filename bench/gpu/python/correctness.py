"""
Whether the sidecar's checkpoints hold what a trainer's tensors were when `save` was called, though they are overwritten
from the moment it returns until the commit: correctness.py FILE, with JSON {dir, checkpoints, tensors, sidecar} in it.
"""
import os

from program import run
from skip import Skip

NOISE = 1000
"""Steps that are saved have numbers below this, and those that overwrite them above."""


def check(options):
    try:
        import torch
    except ImportError as error:
        raise Skip(str(error)) from error
    from holdfast_peer import checkpointer
    from torch_peers import state_of, synchronize

    def words_of(tensor):
        return tensor.reshape(-1).view(torch.int32)

    def fill(words, seed):
        """The same on the device as on the host: whole numbers, which overflow alike."""
        torch.arange(len(words), out=words)
        words.mul_(-1640531535).add_(seed & 0x7FFFFFFF)

    state = state_of(options["tensors"])
    tensors = [(group, name, tensor) for group, names in state.items() for name, tensor in names.items()]

    def train(step):
        """Queues a step: every tensor gets new contents, the one that is copied last first."""
        for index, (_, _, tensor) in reversed(list(enumerate(tensors))):
            fill(words_of(tensor), step * 100_003 + index)

    def compare(checkpoint, step):
        if checkpoint is None or checkpoint.step != step or checkpoint.passed_over:
            passed_over = checkpoint.passed_over if checkpoint else "there is none"
            raise RuntimeError(f"step {step} was committed, and is not the newest good checkpoint: {passed_over}")
        loaded = checkpoint.load()
        for index, (group, name, tensor) in enumerate(tensors):
            found = words_of(loaded[group][name])
            expected = torch.empty(tensor.numel(), dtype=torch.int32)
            fill(expected, step * 100_003 + index)
            wrong = int((found != expected).sum())
            if wrong:
                text = f"{wrong} of {len(expected)} words are not those of its step"
                raise RuntimeError(f"WRONG BYTES in {checkpoint.id}, loaded: {group}.{name}: {text}")

    overwrites = 0
    root = os.path.join(options["dir"], "torch")
    with checkpointer(root, options["sidecar"], keep_last=1) as checkpoints:
        for step in range(1, options["checkpoints"] + 1):
            train(step)  # no waiting: the save is queued behind it
            save = checkpoints.save(step, state)
            while True:
                overwrites += 1
                train(NOISE + overwrites)
                if save.done:
                    break
                synchronize()
            save.wait()
            compare(checkpoints.latest(), step)
    return {"identical": options["checkpoints"], "overwrites": overwrites}


if __name__ == "__main__":
    run(check)
