"""Joining JAX's distributed runtime, and what the end of one of its hosts looks like to the others: one line.

Where a host is lost, the runtime of the others writes frames of C++ to standard error and aborts. So while hosts are
joined, what native code writes goes to a file, and `abort` is met by a line that says who is gone, read from that file.
"""

import ctypes
import os
import re
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from jaxclip.devices.runtime_words import AGAIN, BROKEN, FIRST_IS_GONE, GO_ON, end_of, is_of_runtime

HEARTBEAT = 30
"""Seconds without a sign of life after which a host is lost."""

PATIENCE = 5
"""Seconds until a host says that it waits for the others to join: a launcher may have started fewer than it says."""

MOST_READ = 2**20
"""Bytes of the last that native code wrote."""

OLDEST = (0, 9, 2)
"""First JAX whose end can be met when a host is lost; older ones end the others with status 1 and without a word."""

SIGNALS = ("SIGTERM", "SIGINT", "SIGUSR1")
"""What comes before a machine is taken away: from Kubernetes and Cloud TPU, from a terminal, from SLURM's --signal."""

_STOPPED = "jaxclip/stopped"


def several(coordinator: str | None = None, hosts: int | None = None, host: int | None = None) -> bool:
    """Tell whether this process is one of several hosts: by its arguments (see `joined`), or by what launched it.

    Raises:
      ValueError: only some of the three are given, or they make no sense.
    """
    if coordinator is None and hosts is None and host is None:
        return _launched()
    if coordinator is None or hosts is None or host is None:
        raise ValueError("give --coordinator, --hosts and --host together, or none of them where a launcher is known.")
    if not 0 <= host < hosts or not re.fullmatch(r".+:\d+", coordinator):
        raise ValueError(
            f"--host must be 0 to {hosts - 1} and --coordinator address:port; got {host} and {coordinator}."
        )
    return hosts > 1


def _launched() -> bool:
    from jax._src.clusters import ClusterEnv  # what jax.distributed.initialize asks; it has no public name

    for env in ClusterEnv._cluster_types:
        # A pod that is no part of an indexed job, or lacks the kubernetes package, is alone.
        alone = env.__name__ == "K8sCluster" and "JOB_COMPLETION_INDEX" not in os.environ
        if env.opt_in_only_method or alone:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if env.is_env_present():
                return env.get_process_count() > 1
    return False


@contextmanager
def joined(
    say: Callable[[str], None], coordinator: str | None = None, hosts: int | None = None, host: int | None = None
) -> Iterator[None]:
    """Join several hosts as one of them, before anything else is asked of JAX.

    An error on one host ends the others too, each with one line and within a minute, even while they wait.

    Args:
      say: writes a line for people.
      coordinator: address:port of host 0, free there and to be reached from all.
      hosts: how many there are.
      host: which one this is, from 0. Without the three, JAX takes them from the launcher: Cloud TPU, SLURM, Kubernetes
        or Open MPI.

    Raises:
      ValueError: a JAX older than `OLDEST`.
    """
    import jax

    from jaxclip.devices.hosts import Stopped

    if jax.__version_info__ < OLDEST:
        raise ValueError(
            f"several hosts need JAX {'.'.join(map(str, OLDEST))} or newer, to say so when one is lost; "
            f"got {jax.__version__}. pip install -U jax, on all of them."
        )
    with _quiet() as log, _told(log):
        # Its handler of signals would take the place of `stopping`, which meets more of them.
        if hasattr(jax.config, "jax_enable_preemption_service"):  # older ones have no such switch
            jax.config.update("jax_enable_preemption_service", False)
        try:
            with _waiting(say):
                jax.distributed.initialize(
                    coordinator, hosts, host, cluster_detection_method="deactivate" if coordinator else None,
                    heartbeat_timeout_seconds=HEARTBEAT, shutdown_timeout_seconds=HEARTBEAT,
                )  # fmt: skip
        except jax.errors.JaxRuntimeError as error:
            status, line = end_of(str(error), HEARTBEAT)
            say(f"jaxclip: {line or 'the hosts did not find each other; ' + GO_ON + '.'}")
            os._exit(status)
        over = threading.Event()
        threading.Thread(target=_watch, args=(over, say), daemon=True).start()
        try:
            yield
        except BaseException as error:
            if not isinstance(error, Stopped):  # all hosts stop together
                _leave(error, say, over)
            raise
        finally:
            over.set()


@contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """Make a function that says whether a signal has asked to stop. A second signal does not wait to be asked about."""
    asked = []

    def note(number: int, frame: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    numbers = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _waiting(say: Callable[[str], None]) -> Iterator[None]:
    """Say once which hosts are waited for, where joining takes longer than `PATIENCE`."""
    from jax._src import distributed

    def told() -> None:
        state = distributed.global_state
        if state.coordinator_address is None:
            return say("jaxclip: waiting for the launcher to say where host 0 is.")
        own, others = state.process_id or 0, (state.num_processes or 2) - 1
        whom = f"the other {others}" if own == 0 and others > 1 else "host 1" if own == 0 else "host 0 and all others"
        return say(
            f"jaxclip: host {own} of {others + 1} waits for {whom} to join at {state.coordinator_address}; were "
            f"{others + 1} started, and can each reach that address?"
        )

    timer = threading.Timer(PATIENCE, told)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def _quiet() -> Iterator[int]:
    """Send what native code writes to a file, while Python writes where it did; gives the file's descriptor."""
    streams = {1: sys.stdout, 2: sys.stderr}
    for stream in streams.values():
        stream.flush()
    with tempfile.TemporaryFile() as log:
        kept = {number: os.dup(number) for number in streams}
        sys.stdout, sys.stderr = (os.fdopen(os.dup(number), "w", buffering=1) for number in kept.values())
        for number in streams:
            os.dup2(log.fileno(), number)
        try:
            yield log.fileno()
        finally:
            sys.stdout, sys.stderr = streams.values()
            for number, there in kept.items():
                os.dup2(there, number)
                os.close(there)


@contextmanager
def _told(log: int) -> Iterator[None]:
    """Make an abort of the runtime say in one line why, here and where this host is waited for, and end the process."""

    def aborted(number: int) -> None:
        status, line = AGAIN, None
        for waited in range(HEARTBEAT + 15):
            status, line = end_of(_last(log), HEARTBEAT)
            if line is not None and (status == AGAIN or waited > 5):
                break
            time.sleep(1)  # a host that said why it stops is heard meanwhile, which ends the process
        sys.stderr.write(f"jaxclip: {line or BROKEN}\n")
        sys.stderr.flush()
        if status != AGAIN and line is not None:
            _tell(status, line)
        os._exit(status)

    # Not Python's own handler: that waits for the main thread, which waits for the host that is lost.
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(aborted)
    set_handler = ctypes.CDLL(None).signal
    set_handler.restype, set_handler.argtypes = ctypes.c_void_p, [ctypes.c_int, ctypes.c_void_p]
    before = set_handler(signal.SIGABRT, ctypes.cast(handler, ctypes.c_void_p))
    try:
        yield
    finally:
        set_handler(signal.SIGABRT, before)


def _last(log: int) -> str:
    """Read the last that was written: a pass of days may have warned of much before."""
    return os.pread(log, MOST_READ, max(0, os.fstat(log).st_size - MOST_READ)).decode(errors="replace")


def _watch(over: threading.Event, say: Callable[[str], None]) -> None:
    """End this host after an error elsewhere or a silence of host 0, even while its main thread waits.

    The runtime takes minutes to miss a host 0 that was stopped, not ended. Seconds are counted, not read from a clock:
    this process may have been stopped itself.
    """
    answered, silent = threading.Event(), 0
    threading.Thread(target=_ask, args=(over, answered, say), daemon=True).start()
    while not over.wait(1):
        silent = 0 if answered.is_set() else silent + 1
        answered.clear()
        if silent > HEARTBEAT:
            say(f"jaxclip: {FIRST_IS_GONE}")
            os._exit(AGAIN)


def _ask(over: threading.Event, answered: threading.Event, say: Callable[[str], None]) -> None:
    """Ask host 0 again and again whether a host has said why it stopped."""
    client = _client()
    while not over.wait(1):
        try:
            status, host, message = client.key_value_try_get(_STOPPED).split(":", 2)
        except Exception as error:
            if "NOT_FOUND" in str(error):
                answered.set()
            continue
        if not over.is_set() and int(host) != _host():
            say(f"jaxclip: host {host} stopped: {message}")
            os._exit(int(status))


def _leave(error: BaseException, say: Callable[[str], None], over: threading.Event) -> None:
    """Tell the other hosts of an error that is this one's own, and wait to be told of one that is not."""
    message = " ".join(str(error).split()) or ("interrupted" if isinstance(error, KeyboardInterrupt) else repr(error))
    status = AGAIN if isinstance(error, KeyboardInterrupt) else 1
    if is_of_runtime(error):
        status, line = end_of(str(error), HEARTBEAT)
        if line is None:
            time.sleep(HEARTBEAT + 15)  # as long as it can take until it is known who is gone; that ends the process
            say(f"jaxclip: {BROKEN}")
            os._exit(AGAIN)
        message = line
        time.sleep(3)  # a host that stopped for a reason of its own is heard first
    over.set()  # it may be everybody's error: one line is enough
    say(f"jaxclip: {message}")
    _tell(status, message)
    os._exit(status)


def _tell(status: int, message: str) -> None:
    """Have the other hosts say why this one ends; the first that tells is heard."""
    host = _host()

    def told() -> None:
        with suppress(Exception):
            _client().key_value_set(_STOPPED, f"{status}:{host}:{message}")

    telling = threading.Thread(target=told, daemon=True)
    telling.start()
    telling.join(5)  # where host 0 does not answer, nobody is told
    if host == 0:
        time.sleep(3)  # the others learn of it from here


def _host() -> int:
    from jax._src import distributed

    return distributed.global_state.process_id or 0


def _client() -> Any:
    from jax._src import distributed

    return distributed.global_state.client
