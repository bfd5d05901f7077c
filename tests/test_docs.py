"""What README and docs show runs as it stands: Python on the scenes' model, commands as far as their arguments."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import tyro
from PIL import Image

import jaxclip
from jaxclip.cli import COMMANDS
from jaxclip.data.scenes import scene
from jaxclip.data.sources import open_data
from jaxclip.passes import PassOptions, run_pass

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(page):
    return [line for block in blocks(page, "") for line in block.splitlines() if line.startswith("jaxclip ")]


def named(pages):
    return [pytest.param(page, id=str(page.relative_to(ROOT))) for page in pages]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with what the pages speak of: a picture and a run."""
    folder = tmp_path_factory.mktemp("docs")
    Image.fromarray(scene(0, "test", 1)["image"]).save(folder / "dog.jpg")
    clip = jaxclip.load("scenes")
    run_pass(clip, open_data("scenes", split="test", limit=40), folder / "run", PassOptions(batch=20))
    return folder


@pytest.mark.parametrize("page", named(page for page in PAGES if blocks(page, "python")))
def test_python_on_a_page_runs_from_top_to_bottom(page, place, monkeypatch):
    monkeypatch.chdir(place)
    clip = jaxclip.load("scenes")
    picture = Image.open(place / "dog.jpg")
    masks = np.ones((2, clip.config.vision.n_layers, clip.config.vision.n_heads), np.float32)
    texts = np.asarray(clip.encode_text(clip.tokenize(["a star", "grass", "something red"]), normalize=True))
    known = {"jaxclip": jaxclip, "clip": clip, "picture": picture, "images": clip.preprocess([picture])}
    known |= {"masks": masks, "texts": texts}
    for block in blocks(page, "python"):
        exec(compile(block.replace('"ViT-L-14/openai"', '"scenes"'), str(page), "exec"), known)


@pytest.mark.parametrize("page", named(filter(commands, PAGES)))
def test_commands_on_a_page_have_the_arguments_they_show(page):
    for line in commands(page):
        arguments = shlex.split(line, comments=True)[1:]
        assert arguments[0] in COMMANDS, line
        tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="jaxclip", args=arguments)
