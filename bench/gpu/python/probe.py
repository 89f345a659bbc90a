"""Prints, as JSON, what this Python has of what Holdfast is compared with."""
import importlib
import json
import os
import sys


def version(name, more=lambda module: ""):
    try:
        module = importlib.import_module(name)
        return f"{getattr(module, '__version__', 'unknown')}{more(module)}"
    except Exception as error:  # an import can fail in any way
        return f"none ({type(error).__name__}: {error})"


def cuda_of(torch):
    return f", CUDA {torch.version.cuda}" if torch.cuda.is_available() else ", WITHOUT a CUDA device"


found = {
    "Python": sys.version.split()[0],
    "torch": version("torch", cuda_of),
    "jax": version("jax", lambda jax: f", {jax.default_backend()}"),
    "orbax.checkpoint": version("orbax.checkpoint"),
}
device = os.environ.get("HOLDFAST_PEER_DEVICE")
if device is not None:
    found["peers"] = f"tried out on {device}: their figures compare with nothing"
print(json.dumps(found))
