"""Which processes are one of several hosts, and what they say when one of them is gone."""

import os
import signal
import socket
import subprocess
import sys
from types import SimpleNamespace

import jax
import pytest

from jaxclip.devices import hosts
from jaxclip.devices.cluster import AGAIN, joined, several
from jaxclip.devices.sharding import make_mesh

SLURM = {
    "SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "node[1-4]", "SLURM_PROCID": "1", "SLURM_LOCALID": "0",
    "SLURM_STEP_NUM_NODES": "4",
}  # fmt: skip
MPI = {
    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://10.96.0.1:34911", "OMPI_COMM_WORLD_RANK": "1",
    "OMPI_COMM_WORLD_LOCAL_RANK": "0",
}  # fmt: skip


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        (SLURM | {"SLURM_NTASKS": "4"}, True),
        (SLURM | {"SLURM_NTASKS": "1"}, False),
        (MPI | {"OMPI_COMM_WORLD_SIZE": "2"}, True),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, False),  # any pod
    ],
)
def test_launchers_are_known_by_their_environment(monkeypatch, environment, expected):
    for name in [name for name in os.environ if name.startswith(("SLURM_", "OMPI_", "KUBERNETES_"))]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert several() is expected


def test_hosts_by_argument():
    assert several("10.0.0.1:1234", 2, 1)
    assert not several("10.0.0.1:1234", 1, 0)
    with pytest.raises(ValueError, match="give --coordinator, --hosts and --host together"):
        several(hosts=2)
    with pytest.raises(ValueError, match=r"--host must be 0 to 1 .* got 2 and 10\.0\.0\.1:1234"):
        several("10.0.0.1:1234", 2, 2)
    with pytest.raises(ValueError, match="address:port"):
        several("10.0.0.1", 2, 1)


def test_a_jax_that_would_end_without_a_word_is_refused(monkeypatch):
    monkeypatch.setattr(jax, "__version_info__", (0, 9, 1))
    monkeypatch.setattr(jax, "__version__", "0.9.1")
    with pytest.raises(ValueError, match=r"several hosts need JAX 0.9.2 or newer, .*; got 0.9.1. pip install -U jax"):
        joined(print, "127.0.0.1:1", 2, 0).__enter__()


ABORTED = """
import os, sys
from jaxclip.devices.cluster import _quiet, _told
with _quiet() as log, _told(log):
    print("of Python")
    os.write(2, b"frames of C++: Failed to send RPC to coordination service")
    os.abort()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="POSIX")
def test_an_abort_is_one_line():
    done = subprocess.run([sys.executable, "-c", ABORTED], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (AGAIN, "of Python\n")
    assert done.stderr.startswith("jaxclip: host 0 is gone")
    assert done.stderr.count("\n") == 1


def test_one_host_has_all_there_is():
    assert hosts.is_first()
    assert hosts.gather(b"x") == [b"x"]
    hosts.agree(model="a")
    with pytest.raises(FileExistsError, match="mine"):
        hosts.once(lambda: (_ for _ in ()).throw(FileExistsError("mine")))


@pytest.mark.parametrize(("host", "hosts", "whom"), [(0, 3, "the other 2"), (0, 2, "host 1"), (1, 3, "host 0 and all")])
def test_a_host_that_waits_says_for_whom(host, hosts, whom, tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        where = f"localhost:{free.getsockname()[1]}"
    command = [sys.executable, "-m", "jaxclip", "run", "scenes", "scenes", "--limit", "8", "--out", tmp_path / "run"]
    command += ["--coordinator", where, "--hosts", str(hosts), "--host", str(host)]
    alone = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        line = next(line for line in alone.stderr if line.strip())
        assert alone.poll() is None
        assert line.startswith(f"jaxclip: host {host} of {hosts} waits for {whom}")
        assert where in line
    finally:
        alone.kill()
        alone.wait()
        alone.stderr.close()


@pytest.mark.parametrize("model", [1, 3])
def test_hosts_with_other_numbers_of_devices_make_no_mesh(model):
    devices = [SimpleNamespace(process_index=host, id=number) for number, host in enumerate([0, 1, 1])]
    with pytest.raises(ValueError, match="all hosts must have the same number of devices; host 0 has 1, host 1 has 2"):
        make_mesh(model=model, devices=devices)
