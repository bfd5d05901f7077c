"""What the runtime between hosts said when hosts were killed, stopped and set against each other is what is understood.

The texts are its own, word for word but for addresses, times and frames.
"""

import os
import subprocess
import sys

import jax
import pytest

from jaxclip.devices.runtime_words import AGAIN, end_of, is_of_runtime

JOINED = "[Gloo] Rank 0 is connected to 1 peer ranks. Expected number of connected peer ranks is : 1\n"
FATAL = (
    "F1201 04:02:25.701096   23198 client.h:80] Terminating process because the JAX distributed service detected fatal "
    "errors. This most likely indicates that another task died; see the other task logs for more details. Disable "
    "Python buffering, i.e. `python -u`, to be sure to see all the previous output. absl::Status: "
)
STACK = "*** Check failure stack trace: ***\n    @     0x7f9c37c40634  absl::lts_20260107::LogMessage::SendToLog()\n"
KILLED = (
    JOINED + "E1201 04:02:25.700466   23187 coordination_service.cc:1549] [168998926178034342] Use error polling to "
    "propagate the following error to all tasks: UNAVAILABLE: The following tasks are unhealthy (stopped sending "
    "heartbeats):\n1\nThe tasks have crashed. Check the task logs for an earlier error, or scheduler events (e.g. "
    "preemption, eviction) to debug further. [type.googleapis.com/tensorflow.CoordinationServiceError='']\n"
    "E1201 04:02:25.700931   23198 coordination_service_agent.cc:289] Polled an error from coordination service (this "
    "can be an error from this or another task).\n" + FATAL + "UNAVAILABLE: The following tasks are unhealthy (stopped "
    "sending heartbeats):\n1\nThe tasks have crashed. Check the task logs for an earlier error, or scheduler events "
    "(e.g. preemption, eviction) to debug further.\n\nRPC: /xla.coordination.CoordinationService/PollForError "
    "[type.googleapis.com/tensorflow.CoordinationServiceError='']\n" + STACK
)
FIRST_KILLED = (
    JOINED
    + "E1201 04:03:33.783991   24423 coordination_service_agent.cc:289] Polled an error from coordination service "
    "(this can be an error from this or another task).\n" + FATAL + "UNAVAILABLE: Failed to send RPC to coordination "
    "service. Either the leader task was preempted/died/restarted unexpectedly or this task is experiencing network "
    "issues. Check earlier logs from 1) this task, 2) the leader (usually slice 0 task 0), and 3) cluster scheduler to "
    "debug further.\nAdditional GRPC error information from remote target coordination_service while calling "
    '/xla.coordination.CoordinationService/PollForError:\n:UNKNOWN:Error received from peer  {grpc_message:"Socket '
    'closed", grpc_status:14}\n' + STACK
)
FIRST_STOPPED = (
    JOINED + FATAL + "DEADLINE_EXCEEDED: Deadline Exceeded\n\nRPC: /xla.coordination.CoordinationService/Heartbeat\n"
) + STACK
OTHER_SIZES = (
    JOINED + "terminate called after throwing an instance of 'gloo::EnforceNotMet'\n  what():  [enforce fail at "
    "external/gloo/gloo/transport/tcp/pair.cc:459] op.preamble.length <= op.nbytes. 2000 vs 1000. Received data size "
    "doesn't match expected size. Is there a distributed collective mismatch in your code?\n"
)
CLOSED = (
    "UNKNOWN: Gloo AllGather failed: [external/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [::1]:2"
)
RESET = (
    "UNKNOWN: Gloo all-reduce failed: [external/gloo/gloo/transport/tcp/pair.cc:538] Read error [127.0.0.1]:36502: "
    "Connection reset by peer"
)
RAW = ("gloo", "pair.cc", "client.h", "enforce", "INTERNAL", "UNKNOWN", "UNAVAILABLE", "absl", "0x7f", "***")


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        (KILLED, AGAIN, "host 1 is gone: no sign of life for 5 s; what was saved is kept, and the same command"),
        (KILLED.replace("\n1\n", "\n1\n3\n"), AGAIN, "host 1, 3 is gone"),
        (FIRST_KILLED, AGAIN, "host 0 is gone, or cannot be reached any more"),
        (FIRST_STOPPED, AGAIN, "host 0 is gone, or cannot be reached any more"),
        (OTHER_SIZES, 1, "hosts sent each other data of different sizes"),
        ("RESOURCE_EXHAUSTED: Out of memory allocating 5 bytes", 1, "the memory of this host or its device is full"),
        ("terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc\n", 1, "memory"),
        ("INTERNAL: ALREADY_EXISTS: aborted connect attempt; different incarnation", 1, "two processes say that they"),
        ("UNKNOWN: Failed to start RPC server: Address already in use", 1, "the port of --coordinator is taken"),
        ("F1201 00:00:00.1 12 pair.cc:44] something strange happened\n    @ 0x7f frame", 1, "something strange"),
        (JOINED, 1, "it did not say why"),
        ("", 1, "it did not say why"),
    ],
)  # fmt: skip
def test_the_end_of_the_runtime_is_a_sentence(text, status, said):
    found, line = end_of(text, 5)
    assert (found, said in line) == (status, True), line
    assert not any(word.lower() in line.lower() for word in RAW), line


@pytest.mark.parametrize(
    "text",
    [CLOSED, RESET, "Socket closed", "UNAVAILABLE: connection reset by peer",
     "Gloo AllReduce failed: Timed out waiting 30000ms for recv operation"],
)  # fmt: skip
def test_a_connection_that_broke_waits_for_who_is_missed(text):
    assert end_of(text, 5) == (AGAIN, None)


OLD = "W1201 00:00:01.5 12 bfc_allocator.cc:501] Allocator ran out of memory trying to allocate 2.0GiB; retried.\n"
OLD_END = "E1201 00:00:02.5 12 rpc.cc:9] UNAVAILABLE: connection reset by peer; connected again.\n"


def test_the_newest_entry_decides_and_what_ended_the_process_before_all():
    assert end_of(OLD + KILLED, 5)[1].startswith("host 1 is gone")
    assert end_of(OLD + FIRST_STOPPED, 5)[1].startswith("host 0 is gone")
    assert end_of(OLD + OLD_END, 5) == (AGAIN, None)
    assert end_of(OLD_END + OLD, 5)[1].startswith("the memory")
    assert end_of(OLD_END + OLD + OTHER_SIZES, 5)[1].startswith("hosts sent each other")
    # What it ends with is not what was wrong hours ago, even where nobody knows those words.
    status, line = end_of(OLD_END + OLD + "F1201 00:09:00.1 12 x.cc:44] a new kind of fault\n" + STACK, 5)
    assert (status, "a new kind of fault" in line) == (1, True)
    # Entries after the fatal one are other threads' on their way out.
    assert end_of(KILLED + OLD, 5)[1].startswith("host 1 is gone")


@pytest.mark.parametrize(
    ("error", "is_its"),
    [
        (jax.errors.JaxRuntimeError(RESET), True),
        (ValueError(CLOSED), True),  # as compiled functions raise it
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory"), True),
        (ValueError("my list of libraries, Gloo among them, is empty: connection closed"), False),
        (ValueError("labels: Gloo AllGather failed: of my own"), False),
        (RuntimeError(CLOSED), False),
        (type("Own", (ValueError,), {})(CLOSED), False),
        (OSError("connection reset by peer"), False),
    ],
)
def test_whose_an_error_is_is_told_by_its_type(error, is_its):
    assert is_of_runtime(error) is is_its


LONG = """
import os, sys
from jaxclip.devices.cluster import _quiet, _told
with _quiet() as log, _told(log):
    os.write(2, sys.argv[1].encode() * 20_000)
    os.write(2, sys.argv[2].encode())
    os.abort()
"""


@pytest.mark.skipif(os.name != "posix", reason="POSIX")
def test_the_last_of_a_long_log_is_read():
    old = "W1201 00:00:01.5 12 x.cc:501] Failed to start RPC server: Address already in use; another was taken.\n"
    done = subprocess.run([sys.executable, "-c", LONG, old, FIRST_STOPPED], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr.count("\n")) == (AGAIN, 1)
    assert done.stderr.startswith("jaxclip: host 0 is gone")
