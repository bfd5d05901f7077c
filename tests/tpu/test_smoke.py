"""The smoke test of a slice, on devices that are none: all of it holds, and what does not is told."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "tpu" / "smoke.py"


def smoke(n_devices, *options):
    flags = f"--xla_force_host_platform_device_count={n_devices}"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}
    command = [sys.executable, SCRIPT, *options]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_slice_with_too_few_devices_is_broken_and_all_else_holds():
    process = smoke(8, "--expect", "16", "--model-axis", "2")
    said, errors = process.communicate(timeout=600)
    assert process.returncode == 1, errors
    first, *found, last = said.splitlines()
    assert first.startswith("8 devices (cpu), 1 hosts")
    assert [line.split()[0] for line in found] == ["BROKEN", "ok", "ok", "ok", "ok"]
    assert found[0].endswith("as many devices as expected")
    assert last.endswith(" s")


@pytest.mark.nightly
def test_two_hosts_say_it_once():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    shared = ["--expect", "8", "--coordinator", f"localhost:{port}", "--hosts", "2"]
    hosts = [smoke(4, *shared, "--host", str(host)) for host in range(2)]
    try:
        said = [process.communicate(timeout=600)[0] for process in hosts]
    finally:
        for process in hosts:
            process.kill()
    assert [process.returncode for process in hosts] == [0, 0]
    assert said[0].startswith("8 devices (cpu), 2 hosts")
    assert said[0].count("\nok ") == 5
    assert said[1] == ""
