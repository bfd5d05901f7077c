"""`jaxclip` as one of several hosts, which sends itself a signal after a step: python host_worker.py TERM@2 run ...

A lost host is missed after 5 seconds, not 30.
"""

import os
import signal
import sys
from contextlib import contextmanager

from jaxclip.cli.main import main
from jaxclip.devices import cluster
from jaxclip.report import progress


@contextmanager
def bar(title):
    seen = []

    def update(done, total):
        seen.append(done)
        if len(seen) == int(step or 0):
            os.kill(os.getpid(), getattr(signal, f"SIG{name}"))

    yield update


if __name__ == "__main__":
    name, _, step = sys.argv[1].partition("@")
    cluster.HEARTBEAT, progress.bar = 5, bar
    main(sys.argv[2:])
