"""Commands as their users meet them, for the tests of commands about a run."""

import json
import re
import shutil

import numpy as np
import pytest

from jaxclip.cli.main import main
from jaxclip.files.checksums import checksums


def status(*arguments):
    """Exit status of one command."""
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    return exit_.value.code


def scenes_run(folder, *options, limit=60):
    """The shipped model over the first held-out scenes; batches of one shape, so that it is compiled once."""
    assert status("run", "scenes", "scenes", "--limit", limit, "--batch", 20, "--out", folder, *options) == 0
    return folder


def with_info(run, folder, part, **changes):
    """A copy of a run that says something else of itself."""
    shutil.copytree(run, folder)
    info = json.loads((folder / "run.json").read_text())
    info[part] |= changes
    return say(folder, info)


def say(folder, info):
    """Let a run say something else of itself, and vouch for it."""
    (folder / "run.json").write_text(json.dumps(info))
    with np.load(folder / "state.npz") as held:
        arrays = dict(held)
    said = json.dumps(json.loads(arrays["checksums"].tobytes()) | checksums(folder, ["run.json"]))
    np.savez(folder / "state.npz", **arrays | {"checksums": np.frombuffer(said.encode(), np.uint8)})
    return folder


FINDINGS = re.compile(r"\d+ images? \(\w+\)|no labels|label \w+: .*|model .*|all (\d+ )?images .* smaller .*")
"""What `run` says of data and model before it begins."""


def complaints(text):
    """What a command said, line by line, without what `run` found before it began."""
    return [line for line in text.strip().splitlines() if not FINDINGS.fullmatch(line)]


def only_line(captured):
    """What a command that failed said: one line."""
    lines = complaints(captured.err)
    assert len(lines) == 1, lines
    assert lines[0].startswith("jaxclip: ")
    return lines[0]
