"""Orbax's AsyncCheckpointer, of JAX arrays on the GPU."""
import os

from skip import Skip


class Orbax:
    def __init__(self, tensors):
        os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
        try:
            import jax
            import orbax.checkpoint as ocp
        except ImportError as error:
            raise Skip(str(error)) from error
        if jax.default_backend() != "gpu":
            raise Skip(f"jax {jax.__version__} finds no GPU, only {jax.default_backend()}")
        self._jax, self._ocp = jax, ocp
        self._checkpointer = ocp.AsyncCheckpointer(ocp.StandardCheckpointHandler())
        self._state = {}
        for index, tensor in enumerate(tensors):
            group = self._state.setdefault(tensor["group"], {})
            group[tensor["name"]] = jax.random.uniform(jax.random.key(index), tensor["shape"])
        self._jax.block_until_ready(self._state)

    def begin(self, path):
        self._checkpointer.save(path, args=self._ocp.args.StandardSave(self._state))

    def staged(self):
        self._jax.block_until_ready(self._state)  # arrays do not change: a new step makes new ones

    def written(self):
        self._checkpointer.wait_until_finished()

    def close(self):
        self._checkpointer.close()
