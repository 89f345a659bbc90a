"""The most memory that this process, and those that it starts, have resident."""
import os
import threading


def status(pid):
    """Fields of /proc/PID/status that are kB, in bytes; empty if the process is gone."""
    try:
        with open(f"/proc/{pid}/status") as file:
            lines = [line.split() for line in file]
    except OSError:
        return {}
    return {words[0][:-1]: int(words[1]) * 1024 for words in lines if len(words) == 3 and words[2] == "kB"}


def descendants(pid):
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/children") as file:
                children = file.read().split()
            for child in children:
                found += [child, *descendants(child)]
        except OSError:
            pass  # it has just ended
    return found


def own(pid):
    """Bytes that are a process's alone. Files are not if it runs the same program: then they are mapped here as well."""
    sizes = status(pid)
    files = 0 if program_of(pid) == program_of("self") else sizes.get("RssFile", 0)
    return sizes.get("RssAnon", 0) + files


def program_of(pid):
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return None  # it has just ended


class Peak:
    """
    Of the process itself the kernel keeps the peak, so that no moment is missed. Of its children the memory that
    is theirs alone is looked at every 20 ms: what they share with the process is counted there.
    """

    def __init__(self):
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
        self._before = status("self")["VmRSS"]
        self._children = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self):
        while not self._over.wait(0.02):
            self._children = max(self._children, sum(own(pid) for pid in descendants(os.getpid())))

    def mib(self):
        self._over.set()
        self._thread.join()
        return (status("self")["VmHWM"] - self._before + self._children) / 2**20
