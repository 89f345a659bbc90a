"""
Measures one peer: peers.py FILE, with JSON {peer, dir, repeats, limitMs, tensors: [{group, name, shape}], sidecar}
in it. It answers with figures by name.
"""
import os
import shutil
import statistics
import time

from durable import sync
from program import run
from resident import Peak
from skip import Skip


def open_peer(options, root):
    name, tensors = options["peer"], options["tensors"]
    if name == "orbax":
        from orbax_peer import Orbax

        return Orbax(tensors)
    try:
        import torch_peers
    except ImportError as error:
        raise Skip(str(error)) from error
    if name == "holdfast":
        from holdfast_peer import Sidecar

        return Sidecar(tensors, root, options["sidecar"])
    if name == "torch.save":
        return torch_peers.TorchSave(tensors)
    return torch_peers.AsyncSave(tensors, stager="pinned" in name, process="process" in name)


def save(peer, path):
    """Seconds of: the call, until the tensors may change and the device has nothing left to do, until it is durable."""
    begun = time.perf_counter()
    peer.begin(path)
    called = time.perf_counter()
    peer.staged()
    staged = time.perf_counter()
    peer.written()
    sync(path)
    durable = time.perf_counter()
    return called - begun, staged - begun, durable - begun


def remove(path):
    if os.path.isdir(path):
        shutil.rmtree(path)
    else:
        os.remove(path)
    sync(os.path.dirname(path))


def measure(options):
    begun = time.perf_counter()
    root = os.path.join(options["dir"], "peer")
    os.makedirs(root, exist_ok=True)
    peer = open_peer(options, root)
    peak = Peak()
    times = []
    for step in range(1 + options["repeats"]):  # the first warms up
        path = os.path.join(root, f"step-{step:08}")
        times.append(save(peer, path))
        remove(path)
        longest = max(durable for _, _, durable in times)
        if step > 0 and time.perf_counter() - begun + 2 * longest > options["limitMs"] / 1000:
            break  # fewer figures are better than none
    resident = peak.mib()
    peer.close()
    calls, stalls, durables = zip(*times[1:])
    return {
        "callMs": 1000 * statistics.median(calls),
        "stallMs": 1000 * statistics.median(stalls),
        "durableS": statistics.median(durables),
        "residentMib": resident,
    }


# A process that DCP starts imports this file again.
if __name__ == "__main__":
    run(measure)
