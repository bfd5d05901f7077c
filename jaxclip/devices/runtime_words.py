"""What the runtime that connects hosts writes and raises when it ends, and that in a sentence.

The texts are those of jaxlib 0.10 with Gloo between CPUs, whose hosts were killed, stopped, aborted and set against
each other; `tests/devices/test_runtime_words.py` has them.
"""

import re

AGAIN = 75
"""Exit status (EX_TEMPFAIL) of a pass that stopped early: what was saved is kept, and the same command goes on."""

KEPT = "what was saved is kept"
GO_ON = f"{KEPT}, and the same command goes on, with the same or another number of hosts"
BROKEN = f"the connection to another host broke, and no host is missed; {GO_ON}."
FIRST_IS_GONE = f"host 0 is gone, or cannot be reached any more; {GO_ON}."
UNKNOWN = "the runtime that connects the hosts failed for a reason that starting again may not mend"

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

LOST = re.compile(r"tasks are unhealthy[^\n]*\n((?:\S*\d+\n)+)")
FIRST_LOST = re.compile(
    r"failed to send RPC to coordination service"
    r"|(DEADLINE_EXCEEDED|UNAVAILABLE|CANCELLED):[^\n]*\n+RPC: /\S*CoordinationService/(Heartbeat|PollForError)",
    re.IGNORECASE,
)
"""Host 0 has the service that all hosts report to: who does not hear from it misses that host."""

CONNECTION = re.compile(
    r"connection (closed|reset|refused|timed out)|broken pipe|read error|write error|timed? ?out|UNAVAILABLE|"
    r"DEADLINE_EXCEEDED|CANCELLED|socket closed|connect(full)?mesh",
    re.IGNORECASE,
)
"""What it says where a connection ended, which a host that is gone explains, or one that stopped for a reason."""

FATAL = re.compile(r"F\d{4} |terminate called")
BEGINS = re.compile(r"^(?=[DEFIW]\d{4} [\d:.]+ |terminate called|\[Gloo\] )", re.MULTILINE)
"""Where an entry of a log begins; its other lines belong to it."""

NO_WORDS = re.compile(r"@|#\d|\*\*\*|\[Gloo\] Rank")
"""Lines that say nothing of an end: frames of a stack, and how many others Gloo connected to."""

OF_GLOO = re.compile(r"[A-Z_]+: Gloo [\w-]+ failed: ")


def is_of_runtime(error: BaseException) -> bool:
    """Tell whether the runtime raised an error, and not other code for a reason of its own.

    It has a type, but what Gloo says comes out of compiled functions as a plain ValueError, in words that begin with a
    status.
    """
    import jax

    return isinstance(error, jax.errors.JaxRuntimeError) or (
        type(error) is ValueError and OF_GLOO.match(str(error)) is not None
    )


def end_of(text: str, heartbeat: int) -> tuple[int, str | None]:
    """Choose the exit status and the words for an end of the runtime; no words where only a connection broke, because
    the host that is missed will explain it.

    `AGAIN` where a host is gone or cannot be reached; 1 for what the same command would meet again.

    Args:
      text: what it raised, or the last that it wrote. An entry that says why it ends decides, else the newest that says
        something known: what was written hours ago has passed.
      heartbeat: seconds after which a host is lost.
    """
    entries = [entry for entry in BEGINS.split(text) if entry.strip()][::-1]
    deciding = [entry for entry in entries if FATAL.match(entry)][:1] or entries
    found = next((found for entry in deciding if (found := _known(entry, heartbeat))), None)
    return found or (1, f"{UNKNOWN} ({_plain(deciding)}); {KEPT}.")


def _known(entry: str, heartbeat: int) -> tuple[int, str | None] | None:
    if found := LOST.search(entry):
        names = re.findall(r"(\d+)$", found[1], re.MULTILINE)
        return AGAIN, f"host {', '.join(names)} is gone: no sign of life for {heartbeat} s; {GO_ON}."
    if FIRST_LOST.search(entry):
        return AGAIN, FIRST_IS_GONE
    for pattern, said in KNOWN.items():
        if re.search(pattern, entry, re.IGNORECASE):
            return 1, f"{said}; {KEPT}."
    if "coordination service" in entry:
        return AGAIN, FIRST_IS_GONE
    return (AGAIN, None) if CONNECTION.search(entry) else None


def _plain(entries: list[str]) -> str:
    """Find the newest that native code said, without places in its source and frames of its stack."""
    place = r"^[DEFIW]\d{4} [\d:. ]+\S+\]|\[[\w./-]+:\d+\]|\S+\.(cc|h|cpp):\d+\]?"
    for entry in entries:
        lines = [" ".join(re.sub(place, "", line).split()) for line in entry.splitlines()]
        said = [line for line in lines if re.search(r"[a-z]{3} ", line) and not NO_WORDS.match(line)]
        if said:
            return said[-1][:200]
    return "it did not say why"
