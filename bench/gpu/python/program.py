"""What every program here is: PROGRAM.py FILE, with its options as JSON in it, and a last line of JSON that answers."""
import json
import os
import signal
import sys
import traceback

from resident import descendants
from skip import Skip


def run(measure):
    """Answers what `measure` makes of the options, or {"skip": why}, or {"failed": why}; then all of it ends."""
    with open(sys.argv[1]) as file:
        options = json.load(file)
    try:
        answer = measure(options)
    except Skip as skip:
        answer = {"skip": str(skip)}
    except Exception as error:
        traceback.print_exc()
        answer = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())}"}
    print(json.dumps(answer), flush=True)
    # Whatever threads and processes a peer has left over: they would hold our standard output.
    for pid in descendants(os.getpid()):
        try:
            os.kill(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            pass
    os._exit(0)
