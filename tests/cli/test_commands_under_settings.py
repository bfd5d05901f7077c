"""Every command under settings of JAX that people have for programs of their own: it works, with the same numbers."""

import json
import os
import subprocess
import sys

import pytest

COMMANDS = {
    "run": "run scenes scenes --limit 60 --batch 20 --bank --by colour --out {}/run",
    "textspan": "textspan {}/run --steps 3 --out {}/textspan",
    "retrieve": "retrieve {}/run 3 --heads 4.1 --out {}/retrieve",
    "ablate": "ablate {}/run --label colour --out {}/ablate",
    "debias": "debias {}/run --label colour --property background --groups background --out {}/debias",
    "report": "report {}/run --steps 2 --images 2 --examples 1 --out {}/report.html",
    "segment": "segment scenes scenes --limit 8 --classes star circle --out {}/segment",
    "decompose": "decompose scenes scenes/7 --texts star circle --out {}/decompose",
    "heatmap": "heatmap scenes scenes/7 star circle --out {}/heatmap",
    "verify": "verify scenes",
    "convert": "convert scenes {}/model",
    "demo": "demo --out {}/demo --n-scenes 20",
}
SCRIPT = """
import json, sys
from jaxclip.cli.main import main
folder, *commands = sys.argv[1:]
for command in commands:
    try:
        main(command.replace("{}", folder).split())
    except SystemExit as end:
        if end.code:
            raise
"""
SETTINGS = {
    "promotion and transfers": {"JAX_NUMPY_RANK_PROMOTION": "raise", "JAX_TRANSFER_GUARD": "disallow"},
    "64 bits": {"JAX_ENABLE_X64": "1"},
    "NaN": {"JAX_DEBUG_NANS": "1"},
}
MACHINES = ("time", "seconds", "images_per_s", "bytes", "file", "folder", "out", "hash", "device")
"""What no two runs share."""


def made(folder, names, settings):
    """Every JSON file that some commands leave, by its name."""
    folder.mkdir()
    line = [sys.executable, "-c", SCRIPT, str(folder), *(COMMANDS[name] for name in names)]
    done = subprocess.run(line, env=os.environ | settings, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    files = {path.relative_to(folder): path.read_text() for path in sorted(folder.rglob("*.json"))}
    return {
        name.as_posix(): numbers(json.loads(text.replace(str(folder), ""))) for name, text in files.items()
        if name.name != "run.json"
    }  # fmt: skip


def numbers(value):
    if isinstance(value, dict):
        return {key: numbers(one) for key, one in value.items() if key not in MACHINES}
    return [numbers(one) for one in value] if isinstance(value, list) else value


def test_some_commands_under_all_settings(tmp_path):
    names, settings = ("run", "retrieve"), {}
    for some in SETTINGS.values():
        settings |= some
    plain = made(tmp_path / "plain", names, {})
    assert "retrieve/results.json" in plain
    assert made(tmp_path / "set", names, settings) == plain


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return made(tmp_path_factory.mktemp("plain") / "all", COMMANDS, {})


@pytest.mark.nightly
@pytest.mark.parametrize("setting", SETTINGS)
def test_every_command_under_a_setting(setting, plain, tmp_path):
    assert len([name for name in plain if name.endswith("results.json")]) >= 7
    assert made(tmp_path / "set", COMMANDS, SETTINGS[setting]) == plain
