"""How real hosts end when one fails, is stopped or runs another program: what each says, and its exit status."""

import os
import signal
import socket
import subprocess
import sys

import jax
import pytest

from jaxclip.devices.cluster import AGAIN, OLDEST

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(jax.__version_info__ < OLDEST, reason="several hosts need a newer JAX"),
]

WORKER = """
import os, signal, sys, time
import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from jaxclip.devices import cluster, hosts, sharding

fault, port, n, host = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
cluster.HEARTBEAT = 5

def say(line):
    print(line, file=sys.stderr, flush=True)

with cluster.joined(say, f"127.0.0.1:{port}", n, host):
    mesh = sharding.make_mesh()
    split, whole = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())
    total = jax.jit(lambda x: x.sum(0), out_shardings=whole)
    for step in range(10_000):
        hosts.gather(b"x")
        own = np.ones((jax.local_device_count(), 2000 if fault == "sizes" and step == 5 else 1000), np.float32)
        np.asarray(total(jax.make_array_from_process_local_data(split, own)))
        time.sleep(0.05)
        if step == 5 and fault == "error":
            raise ValueError("no Gloo here: connection closed")
        if step == 5 and fault == "exit":
            sys.exit("a source that ends the process")
        if step == 5 and hasattr(signal, f"SIG{fault}"):
            os.kill(os.getpid(), getattr(signal, f"SIG{fault}"))
"""


def ends(n, faults, devices=None, limit=150):
    """Exit status and last line of each host; of one that is stopped, none."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    workers = []
    for host in range(n):
        flags = f"--xla_force_host_platform_device_count={(devices or {}).get(host, 1)}"
        words = [sys.executable, "-c", WORKER, faults.get(host, "none"), str(port), str(n), str(host)]
        environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
        workers.append(subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True))
    found = {}
    try:
        for host, worker in enumerate(workers):
            if faults.get(host) != "STOP":
                said = worker.communicate(timeout=limit)[1].splitlines()
                said = [line for line in said if "waits for" not in line]  # a slow machine
                found[host] = worker.returncode, said
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
            worker.stderr.close()
    return found


def test_the_error_of_ones_own_is_told_on_all_whatever_words_are_in_it():
    found = ends(2, {1: "error"})
    assert found[1] == (1, ["jaxclip: no Gloo here: connection closed"])
    assert found[0] == (1, ["jaxclip: host 1 stopped: no Gloo here: connection closed"])


def test_a_source_that_ends_its_process_ends_all():
    found = ends(2, {1: "exit"})
    assert found[1] == (1, ["jaxclip: a source that ends the process"])
    assert found[0] == (1, ["jaxclip: host 1 stopped: a source that ends the process"])


@pytest.mark.parametrize("lost", [0, 1])
@pytest.mark.parametrize("fault", ["KILL", "STOP", "SEGV"])
def test_a_host_that_is_gone_or_stopped_is_named_by_all_others(lost, fault):
    found = ends(3, {lost: fault})
    for host in {0, 1, 2} - {lost}:
        status, said = found[host]
        assert (status, len(said)) == (AGAIN, 1), found
        assert said[0].startswith(f"jaxclip: host {lost} is gone"), found
    if fault != "STOP":
        assert found[lost][0] == -getattr(signal, f"SIG{fault}")


@pytest.mark.parametrize("other", [0, 1])
def test_sizes_that_differ_are_told_on_both_and_nobody_starts_again(other):
    found = ends(2, {other: "sizes"})
    assert [status for status, _ in found.values()] == [1, 1], found
    for _, said in found.values():
        assert len(said) == 1, found
        assert "sent each other data of different sizes" in said[0], found


def test_hosts_with_other_numbers_of_devices_are_told_how_many():
    found = ends(2, {}, {0: 1, 1: 2})
    assert [status for status, _ in found.values()] == [1, 1], found
    for _, (line, *more) in found.values():
        assert not more
        assert "all hosts must have the same number of devices; host 0 has 1, host 1 has 2" in line
