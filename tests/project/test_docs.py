"""What README and docs show runs as it stands: Python on the scenes' model with the output that is shown, commands as
far as their arguments; tables are what their scripts make of what was measured."""

import contextlib
import io
import json
import re
import shlex
import sys
from pathlib import Path

import pytest
from PIL import Image

import jaxclip
from jaxclip.cli.main import COMMANDS
from jaxclip.cli.usage import parse
from jaxclip.data.open_data import open_data
from jaxclip.data.scenes import scene
from jaxclip.runs.run_pass import PassOptions, run_pass

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def python(page):
    """Blocks of Python, each with the output that is shown behind it, or None."""
    found = re.finditer(
        r"^```python\n(.*?)^```$(?:\n\n^```text\n(.*?)^```$)?", page.read_text(), re.MULTILINE | re.DOTALL
    )
    return [match.groups() for match in found]


def commands(page):
    return [line for block in blocks(page, "") for line in block.splitlines() if line.startswith("jaxclip ")]


def named(pages):
    return [pytest.param(page, id=str(page.relative_to(ROOT))) for page in pages]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with what the pages speak of: a picture and a run."""
    folder = tmp_path_factory.mktemp("docs")
    for name in ("dog.jpg", "photo.jpg"):
        Image.fromarray(scene(0, "test", 1)["image"]).save(folder / name)
    clip = jaxclip.load("scenes")
    run_pass(clip, open_data("scenes", split="test", limit=40), folder / "run", PassOptions(batch=20, bank=True))
    return folder


@pytest.mark.parametrize("page", named(page for page in PAGES if python(page)))
def test_python_on_a_page_runs_from_top_to_bottom_and_prints_what_is_shown(page, place, monkeypatch):
    monkeypatch.chdir(place)
    names = {}  # a page defines all that it uses: who pastes it has nothing else
    for block, shown in python(page):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(block.replace('"ViT-L-14/openai"', '"scenes"'), str(page), "exec"), names)
        if shown is not None:
            assert printed.getvalue() == shown


def test_an_output_that_is_not_what_comes_out_is_found(tmp_path):
    page = tmp_path / "page.md"
    first = "```python\nprint(1)\n```\n\n```text\n1\n```\n\n"
    page.write_text(f"{first}```python\nx = 1\n```\n\nText.\n\n```text\nno output\n```\n")
    assert python(page) == [("print(1)\n", "1\n"), ("x = 1\n", None)]


@pytest.mark.parametrize("page", named(filter(commands, PAGES)))
def test_commands_on_a_page_have_the_arguments_they_show(page):
    for line in commands(page):
        arguments = shlex.split(line.split(" > ")[0], comments=True)[1:]
        arguments = [word for word in arguments if word not in ("--json", "--debug", "--any-size")]
        assert arguments[0] in COMMANDS, line
        parse(arguments[0], COMMANDS[arguments[0]], arguments[1:])


def test_the_tour_runs(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    tour = ROOT / "docs" / "tour.py"
    exec(compile(tour.read_text(), str(tour), "exec"), {"__name__": "tour"})
    assert "largest error" in capsys.readouterr().out


@pytest.mark.parametrize("page", named(PAGES))
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in link:
            assert (page.parent / link).exists(), link


def test_tables_are_what_their_scripts_make(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "experiments"))
    import pages
    import supported

    for name in ("correctness", "pages", "supported"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert pages.filled("README.md", "supported") == supported.by_tower()
    assert pages.filled("docs/models.md", "models") == supported.by_name()
    import correctness

    measured = json.loads(correctness.RESULTS.read_text())
    assert pages.filled("README.md", "correctness") == correctness.correctness_table(measured)
