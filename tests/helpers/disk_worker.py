"""Commands one after the other in one process below tests/helpers/disk_shim.c, so that JAX is started and programs are
compiled once: each line of standard input is {"arguments": [...], "disk": {...}}, and each of standard output what came
of it.

With "kill" in "disk" the command runs in a process of its own that begins where this one is, all imported.
"""

import contextlib
import ctypes
import io
import json
import os
import sys

from jaxclip import convert
from jaxclip.cli.checks import say
from jaxclip.cli.main import main
from jaxclip.data.scenes import CHECKPOINT


def result(arguments):
    """Exit status of one command, and what it said."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            (export if arguments[0] == "export" else main)(arguments)
        except SystemExit as end:
            return {"status": end.code, "said": said.getvalue().strip()}


def export(arguments):
    """What there is no command for."""
    config, params, _, _ = convert.read(CHECKPOINT)
    try:
        convert.export_openclip(params, config, arguments[-1])
    except (ValueError, OSError) as error:
        say(f"jaxclip: {error}")
        sys.exit(1)
    sys.exit(0)


def apart(arguments):
    """The same in a copy of this process, which may be killed: its status is then that of the signal, negative."""
    if (child := os.fork()) == 0:
        found = result(arguments)
        print(found["said"], file=sys.stderr, flush=True)
        os._exit(found["status"])
    return {"status": os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), "said": ""}


def work():
    shim = ctypes.CDLL(None)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        asked = json.loads(line)
        for name in [name for name in os.environ if name.startswith("DISK_")]:
            del os.environ[name]
        os.environ.update({f"DISK_{name.upper()}": str(value) for name, value in asked["disk"].items()})
        shim.disk_again()
        found = (apart if "kill" in asked["disk"] else result)(asked["arguments"])
        print(json.dumps(found), file=answers, flush=True)


if __name__ == "__main__":
    work()
