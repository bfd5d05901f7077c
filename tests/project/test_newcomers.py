"""Pages for whoever adds something show a diff each: it applies to the tree as it is, its own test passes there, and it
adds and touches as many files as the page promises."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "add"
# Files added, and files of code touched; a line of documentation comes beside them.
ADDS_AND_TOUCHES = {"analysis": (2, 1), "data-source": (2, 1), "command": (2, 1), "family": (1, 3)}
# Tests that are there and speak of what is added as well: here, that all public names are documented.
PUBLIC = "tests/project/test_public_names.py"
BESIDE = {"analysis": [f"{PUBLIC}::test_type_checkers_see_the_same_names",
                       f"{PUBLIC}::test_the_documentation_has_the_same_sections"]}  # fmt: skip


def shown(name):
    """The one diff of a page."""
    (found,) = re.findall(r"^```diff\n(.*?)^```$", (FOLDER / f"{name}.md").read_text(), re.MULTILINE | re.DOTALL)
    return found


def files(diff):
    """What a diff adds, and what it touches."""
    pairs = re.findall(r"^--- (\S+)\n\+\+\+ b/(\S+)$", diff, re.MULTILINE)
    return [new for old, new in pairs if old == "/dev/null"], [new for old, new in pairs if old != "/dev/null"]


def test_every_page_is_tried():
    assert {path.stem for path in FOLDER.glob("*.md")} == set(ADDS_AND_TOUCHES)


def rows(title):
    """Cells of a table of docs/architecture.md, by the page's heading above it."""
    text = (ROOT / "docs" / "architecture.md").read_text().partition(f"## {title}\n")[2].partition("\n## ")[0]
    found = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert len(found) > 5
    return found[2:]


def place(room):
    return ROOT / room if room.startswith("convert/") else ROOT / "jaxclip" / room


def test_the_house_names_files_that_are_there():
    for room, *cells in rows("Rooms"):
        folder = place(room.strip("`"))
        assert folder.is_dir(), room
        for name in re.findall(r"`([\w/]+\.py)`", " ".join(cells)):
            assert (folder / name).is_file(), f"{room} has no {name}"
    for row in rows("Which room for which change"):
        for name in re.findall(r"`([\w./]+/|[\w/]+\.\w+)`", " ".join(row)):
            assert place(name).exists(), f"there is no {name}"


def test_every_room_is_in_the_table():
    here = {path.parent.name for path in (ROOT / "jaxclip").glob("*/__init__.py")} | {"convert"}
    assert {room.strip("`/") for room, *_ in rows("Rooms")} >= here - {"verify"}


@pytest.mark.parametrize("name", ADDS_AND_TOUCHES)
def test_a_newcomer_adds_and_touches_few_files(name):
    added, touched = files(shown(name))
    code = [path for path in touched if not path.startswith("docs/")]
    assert (len(added), len(code)) == ADDS_AND_TOUCHES[name]
    assert len(touched) - len(code) <= 1
    assert len([path for path in added if path.startswith("tests/")]) == 1


@pytest.mark.parametrize("name", ADDS_AND_TOUCHES)
def test_the_diff_applies_and_its_test_passes(name, tmp_path):
    for part in ("jaxclip", "convert", "tests", "docs"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__", "golden"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    # Where jaxclip is installed, convert/ is inside it; in the copy it has to be as well.
    (tmp_path / "jaxclip" / "convert").symlink_to("../convert")
    around = os.environ | {"GIT_CEILING_DIRECTORIES": str(tmp_path.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    diff = shown(name)
    subprocess.run(["git", "apply", "-"], input=diff, text=True, cwd=tmp_path, check=True, env=around)
    (test,) = [path for path in files(diff)[0] if path.startswith("tests/")]
    assert f"python -m pytest {test}\n" in (FOLDER / f"{name}.md").read_text()
    words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", test, *BESIDE.get(name, ())]
    done = subprocess.run(words, cwd=tmp_path, env=around, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\b[1-9]\d* passed", done.stdout), "a test that is skipped shows nothing: " + done.stdout
