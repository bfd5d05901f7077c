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

AGAIN = 75
"""Exit status (EX_TEMPFAIL) of a pass that stopped early: what was saved is kept, and the same command goes on."""

HEARTBEAT = 30
"""Seconds without a sign of life after which a host is lost."""

PATIENCE = 5
"""Seconds until a host says that it waits for the others to join: a launcher may have started fewer than it says."""

OLDEST = (0, 9, 2)
"""First JAX whose end can be met when a host is lost; older ones end the others with status 1 and without a word."""

SIGNALS = ("SIGTERM", "SIGINT", "SIGUSR1")
"""What comes before a machine is taken away: from Kubernetes and Cloud TPU, from a terminal, from SLURM's --signal."""

GO_ON = "what was saved is kept, and the same command goes on, with the same or another number of hosts"
BROKEN = f"the connection to another host broke, and no host is missed; {GO_ON}."
UNKNOWN = "the library that connects the hosts failed, which it would do again"

KNOWN = {
    r"preamble|nbytes|size mismatch|EnforceNotMet|enforce fail": (
        "hosts sent each other data of different sizes: they do not run the same program; use the same versions, "
        "options and numbers of devices on all"
    ),
    r"RESOURCE_EXHAUSTED|out of memory|bad_alloc": (
        "the memory of this host or its device is full; take a smaller batch or fewer values of --by"
    ),
    r"ALREADY_EXISTS|different incarnation|already connected|duplicate task": (
        "two processes say that they are the same host; give each its own --host"
    ),
    r"address already in use|failed to (add|bind) port|failed to start RPC server": (
        "the port of --coordinator is taken on host 0; name another one on all hosts"
    ),
}
"""What native code says of what will not go away, and that in a sentence."""

CONNECTION = (
    r"connection (closed|reset|refused|timed out)|broken pipe|read error|write error|timed? ?out|UNAVAILABLE|"
    r"DEADLINE_EXCEEDED|CANCELLED|socket closed|connect(full)?mesh"
)
"""What it says where a connection ended, which a host that is gone explains, or one that stopped for a reason."""

_STOPPED = "jaxclip/stopped"


def several(coordinator: str | None = None, hosts: int | None = None, host: int | None = None) -> bool:
    """Whether this process is one of several hosts: by its arguments (see `joined`), or by what launched it.

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
    """Be one of several hosts; before anything else is asked of JAX.

    An error on one host ends the others too, each with one line and within a minute, whatever they were waiting for.

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

    from jaxclip.passes import Stopped

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
            status, line = _ended(str(error))
            say(f"jaxclip: {line or 'the hosts did not find each other; ' + GO_ON + '.'}")
            os._exit(status)
        ended = threading.Event()
        threading.Thread(target=_watch, args=(ended, say), daemon=True).start()
        try:
            yield
        except (Exception, KeyboardInterrupt) as error:
            if not isinstance(error, Stopped):  # all hosts stop together
                _leave(error, say, ended)
            raise
        finally:
            ended.set()


@contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """A function that says whether a signal has asked to stop. A second signal does not wait to be asked about."""
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
    """Who is waited for, said once, where joining takes longer than `PATIENCE`."""
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
    """Native code writes to a file; Python writes where it did. Gives the file's descriptor."""
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
    """An abort of the runtime says in one line why, and ends the process with `AGAIN`."""

    def aborted(number: int) -> None:
        status, line = AGAIN, None
        for waited in range(HEARTBEAT + 15):
            status, line = _ended(os.pread(log, 2**20, 0).decode(errors="replace"))
            if line is not None and (status == AGAIN or waited > 5):
                break
            time.sleep(1)  # a host that said why it stops is heard meanwhile, which ends the process
        sys.stderr.write(f"jaxclip: {line or BROKEN}\n")
        sys.stderr.flush()
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


def _ended(text: str) -> tuple[int, str | None]:
    """Exit status, and what to say of an end of the runtime, from what it wrote; no line where only a connection broke,
    which who is missed will explain.

    `AGAIN` where a host is gone or cannot be reached; 1 for what the same command would meet again.
    """
    if found := re.search(r"tasks are unhealthy[^\n]*\n((?:\S*\d+\n)+)", text):
        names = re.findall(r"(\d+)$", found[1], re.MULTILINE)
        return AGAIN, f"host {', '.join(names)} is gone: no sign of life for {HEARTBEAT} s; {GO_ON}."
    if "Failed to send RPC to coordination service" in text:
        return AGAIN, f"host 0 is gone, or cannot be reached any more; {GO_ON}."
    for pattern, said in KNOWN.items():
        if re.search(pattern, text, re.IGNORECASE):
            return 1, f"{said}; what was saved is kept."
    if "coordination service" in text:
        return AGAIN, f"host 0 is gone, or cannot be reached any more; {GO_ON}."
    if re.search(CONNECTION, text, re.IGNORECASE):
        return AGAIN, None
    return 1, f"{UNKNOWN} ({_plain(text)}); what was saved is kept."


def _plain(text: str) -> str:
    """The last that native code said, without places in its source and frames of its stack."""
    place = r"^[EFIW]\d{4} [\d:. ]+\S+\]|\[[\w./-]+:\d+\]|\S+\.(cc|h|cpp):\d+\]?"
    lines = [" ".join(re.sub(place, "", line).split()) for line in text.splitlines()]
    said = [line for line in lines if re.search(r"[a-z]{3} ", line) and not re.match(r"@|#\d", line)]
    return said[-1][:200] if said else "it did not say why"


def _watch(ended: threading.Event, say: Callable[[str], None]) -> None:
    """An error elsewhere ends this host, whatever its main thread is waiting for."""
    client = _client()
    while not ended.wait(1):
        with suppress(Exception):
            status, host, message = client.key_value_try_get(_STOPPED).split(":", 2)
            if not ended.is_set():
                say(f"jaxclip: host {host} stopped: {message}")
                os._exit(int(status))


def _leave(error: BaseException, say: Callable[[str], None], ended: threading.Event) -> None:
    """Tell the other hosts of an error that is this one's own, and wait to be told of one that is not."""
    import jax

    message = " ".join(str(error).split()) or "interrupted"
    status = AGAIN if isinstance(error, KeyboardInterrupt) else 1
    if isinstance(error, jax.errors.JaxRuntimeError) or "Gloo" in message:
        status, line = _ended(str(error))
        if line is None:
            time.sleep(HEARTBEAT + 15)  # as long as it can take until it is known who is gone; that ends the process
            say(f"jaxclip: {BROKEN}")
            os._exit(AGAIN)
        message = line
        time.sleep(3)  # a host that stopped for a reason of its own is heard first
    ended.set()  # it may be everybody's error: one line is enough
    say(f"jaxclip: {message}")
    with suppress(Exception):
        _client().key_value_set(_STOPPED, f"{status}:{jax.process_index()}:{message}")
    if jax.process_index() == 0:
        time.sleep(3)  # the others learn of it from here
    os._exit(status)


def _client() -> Any:
    from jax._src import distributed

    return distributed.global_state.client
