"""Who holds a run's folder: written into its lock, and read from there by whoever finds it held."""

import json
import os
import platform
import time
from typing import Any, BinaryIO
from uuid import uuid4

from jaxclip.files.strict_json import parse_object

MOST_PROCESSES = 2**31
MOST = 4096
"""Bytes of a lock that are read; one that says more is none of ours."""


def note(lock: BinaryIO) -> None:
    """Say who holds it: this process. The token tells one claim from another."""
    said = {
        "host": platform.node(), "pid": os.getpid(), "token": uuid4().hex,
        "since": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
    }  # fmt: skip
    lock.seek(0)
    lock.truncate()
    lock.write(json.dumps(said).encode())
    lock.flush()
    os.fsync(lock.fileno())


def told(lock: BinaryIO) -> str:
    """Who holds it and how to take it, to follow "another process is running into FOLDER"."""
    lock.seek(0)
    said = _parsed(lock.read(MOST))
    pid, host, since = said.get("pid"), said.get("host"), said.get("since")
    # A number that is no process's would end others: all of this user's, or a group.
    if type(pid) is not int or not 1 < pid < MOST_PROCESSES or not isinstance(host, str) or not isinstance(since, str):
        return "wait for it, or name another folder"
    return (
        f"process {pid} on {host[:100]!r}, since {since[:40]}. Wait for it, or name another folder; where it was "
        f"stopped or forgotten, end it there (kill -9 {pid}) and run the same command again: what it saved is kept"
    )


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        return parse_object(text)
    except ValueError:  # written by another version, or just now
        return {}
