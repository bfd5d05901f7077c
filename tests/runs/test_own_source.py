"""A run made in Python is a run: commands find its model and its images again, from any folder."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import jax
import pytest
from command import status
from PIL import Image

import jaxclip
from jaxclip.data.image_folders import Folder
from jaxclip.data.open_data import open_data
from jaxclip.data.scenes import CHECKPOINT, scene
from jaxclip.data.source import Example
from jaxclip.runs.run_pass import PassOptions, run_pass

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "own-images.md"
BANK = PassOptions(batch=8, bank=True)


@pytest.fixture(scope="module")
def clip():
    return jaxclip.load("scenes")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to work in, with eight pictures."""
    (tmp_path / "pictures").mkdir()
    for n in range(8):
        Image.fromarray(scene(0, "test", n)["image"]).save(tmp_path / "pictures" / f"{n}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def report(run, *more):
    return status("report", run, "--out", "page.html", "--steps", 2, "--examples", 1, "--images", 1, *more)


def test_every_command_takes_a_run_of_python(clip, place, monkeypatch, capsys):
    run = run_pass(clip, open_data("pictures"), "run", BANK)
    assert (run.info["model"]["source"], run.info["data"]["source"]) == ("scenes", str(place / "pictures"))
    (place / "elsewhere").mkdir()
    monkeypatch.chdir(place / "elsewhere")
    assert report("../run") == 0, capsys.readouterr().err
    assert status("retrieve", "../run", 2, "--property", "colour", "--k", 2, "--out", "near") == 0
    assert json.loads(Path("near/results.json").read_text())["queries"][0]["name"] == "2.png"


@pytest.mark.parametrize("how", ["folder", "relative", "shipped"])
def test_a_model_is_recorded_where_it_is_found_from_anywhere(place, how):
    source = {"folder": place / "model", "relative": "model", "shipped": CHECKPOINT}[how]
    if how != "shipped":
        shutil.copytree(CHECKPOINT, "model")
    assert jaxclip.load(source).source == ("scenes" if how == "shipped" else str(place / "model"))


def test_a_clip_that_is_not_what_was_loaded_does_not_say_where_it_is_from(clip, place, capsys):
    made = jaxclip.clip.Clip(**{field.name: getattr(clip, field.name) for field in dataclasses.fields(clip)[:-1]})
    assert jax.tree.map(lambda x: x * 2, clip).source is None
    assert made.source is None
    run = run_pass(made, open_data("pictures"), "run", BANK)
    assert report("run") == 1
    said = capsys.readouterr().err
    assert "does not say where it is, for it was made in Python" in said
    assert "Say where it is with --model" in said
    assert report("run", "--model", "scenes") == 0, capsys.readouterr().err
    # Where the weights are others than those of what was loaded, that is found too.
    changed = dataclasses.replace(clip, vision=jax.tree.map(lambda x: x * 1.5, clip.vision))
    run = run_pass(changed, open_data("pictures"), "changed", BANK)
    assert run.info["model"]["source"] == "scenes"
    assert report("changed") == 1
    assert "scenes is not the model of changed" in capsys.readouterr().err


def test_a_source_that_was_made_by_hand(clip, place, capsys):
    run_pass(clip, Folder(place / "pictures"), "run", BANK)
    assert report("run") == 1
    assert "source of its own (of kind 'folder'), made in Python" in capsys.readouterr().err
    assert report("run", "--data", "pictures") == 0, capsys.readouterr().err


def test_the_page_as_it_stands(place, capsys):
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    code = [block for language, block in blocks if language == "python"]
    Path("tiles.py").write_text(code[0])
    lines = [line for language, block in blocks if not language for line in block.splitlines() if line]
    assert len(lines) >= 3
    for line in lines:
        assert status(*line.split()[1:]) == 0, (line, capsys.readouterr().err)
    held = jaxclip.open_run("tiles_run")
    assert held.info["data"]["kind"] == "tiles"
    assert held.info["data"]["source"] == f"{place / 'tiles.py'}:Tiles"
    # The Python of this page runs in test_docs.


def test_a_run_never_runs_code_that_it_names(clip, place, capsys):
    Path("mine.py").write_text(OWN)
    assert status("run", "scenes", "mine.py:Mine", "--bank", "--out", "run") == 0
    Path("mine.py").write_text(f"open('ran', 'w').close()\n{OWN}")
    assert report("run") == 1
    said = capsys.readouterr().err
    assert "a source of its own; name it with --data" in said
    assert str(place / "mine.py:Mine") in said
    assert not Path("ran").exists()
    assert report("run", "--data", "mine.py:Mine") == 0, capsys.readouterr().err
    assert Path("ran").exists()


OWN = """
from PIL import Image
from jaxclip.data.source import Example
class Mine:
    kind, label_names = "mine", {}
    def __len__(self): return 4
    def __getitem__(self, index): return Example(f"mine/{index}", Image.new("RGB", (40, 40), (60 * index, 90, 20)), {})
    def fingerprint(self): return "one"
"""


@pytest.mark.parametrize(("code", "name", "said"), [
    ("x = 1", "x", "gives a int, which is no source of images: it lacks kind, label_names, __len__"),
    ("x = 1", "y", "has nothing called y"),
    ("1 / 0", "y", "fails when it is run: ZeroDivisionError"),
    ("def y(n): pass", "y", "fails when it is run: TypeError"),
    (OWN.replace("    def fingerprint", "    def print"), "Mine", "it lacks fingerprint"),
    (OWN, "Mine --split test", "has no splits"),
])  # fmt: skip
def test_what_is_no_source(place, capsys, code, name, said):
    Path("mine.py").write_text(code)
    assert status("run", "scenes", *f"mine.py:{name}".split(), "--out", "run") == 1
    assert said in capsys.readouterr().err


def test_a_source_of_ones_own_is_passed_as_it_is(clip, place):
    class Two:
        __slots__ = ()
        kind, label_names = "two", {"label": ("a", "b")}

        def __len__(self):
            return 2

        def __getitem__(self, index):
            return Example(f"two/{index}", scene(0, "test", index)["image"], {"label": index})

        def fingerprint(self):
            return "two"

    run = run_pass(clip, Two(), "run", BANK, data=str(place))
    assert (run.info["data"]["kind"], run.info["data"]["source"], run.names) == ("two", str(place), ["two/0", "two/1"])
