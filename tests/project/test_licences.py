"""Every dependency is declared, justified and under a permissive licence; what is shipped of others is in NOTICE."""

import ast
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "pyproject.toml").read_text()
PROJECT = tomllib.loads(TEXT)["project"]
IMPORTED_AS = {"pillow": "PIL", "orbax-checkpoint": "orbax", "tensorflow-datasets": "tensorflow_datasets"}
WITH_JAX = {"scipy", "ml_dtypes"}  # jax itself requires them
OPTIONAL = {"h5py", "torch", "open_clip"}  # in extras, or only compared with where it is installed
PERMISSIVE = re.compile(
    r"MIT|BSD|Apache|ISC|Python Software Foundation|PSF|CNRI-Python|Zlib|0BSD|CC0|MPL-2\.0|Mozilla Public License 2\.0|"
    r"Unlicense|AFL-2\.1"
)
RECIPROCAL = re.compile(r"(?<![A-Z])(A?GPL|LGPL|SSPL|EUPL)|General Public")


def name_of(requirement):
    return re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-")


def needed():
    """Every distribution that installing jaxclip alone brings, by following what each of them requires."""
    from packaging.requirements import Requirement

    found, waiting = set(), ["jaxclip"]
    while waiting:
        name = name_of(waiting.pop())
        if name in found:
            continue
        try:
            requires = metadata.distribution(name).requires or []
        except metadata.PackageNotFoundError:  # for another platform
            continue
        found.add(name)
        parsed = map(Requirement, requires)
        waiting += [one.name for one in parsed if one.marker is None or one.marker.evaluate({"extra": ""})]
    return sorted(found - {"jaxclip"})


def licence_of(name):
    """What a distribution says of its licence, in whichever of the three places."""
    about = metadata.metadata(name)
    classifiers = [line for line in about.get_all("Classifier") or [] if line.startswith("License")]
    return " ".join([about.get("License-Expression") or "", (about.get("License") or "")[:200], *classifiers])


@pytest.mark.parametrize("name", needed())
def test_what_is_installed_with_it_may_be_used_with_it(name):
    said = licence_of(name)
    assert PERMISSIVE.search(said), f"{name} says {said!r}"
    assert not RECIPROCAL.search(said), f"{name} says {said!r}"


def test_every_dependency_says_in_a_line_what_it_is_for():
    block = TEXT[TEXT.index("\ndependencies = [") : TEXT.index("]", TEXT.index("\ndependencies = ["))]
    lines = [line for line in block.splitlines() if line.strip().startswith('"')]
    assert len(lines) == len(PROJECT["dependencies"])
    assert all(re.search(r'>=[\d.]+", +# \S+ .{10,}', line) for line in lines)


def imports(folder):
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                yield node.module.split(".")[0]


def test_what_is_imported_is_declared_and_what_is_declared_is_imported():
    used = {*imports("jaxclip"), *imports("convert")} - sys.stdlib_module_names - {"jaxclip", "convert"}
    names = map(name_of, PROJECT["dependencies"])
    declared = {IMPORTED_AS.get(name, name.replace("-", "_")) for name in names}
    assert used - declared <= WITH_JAX | OPTIONAL
    assert declared <= used


def test_what_is_shipped_of_others_is_in_the_notice():
    """Every data file is either made here, as listed, or named in NOTICE with its licence beside it."""
    made_here = {
        "class_names.json", "prompt_templates.json", "descriptions.json", "descriptions.txt", "models.json", "py.typed",
        *(path.name for name in ("data/scenes/scenes_clip", "report/html/page") for path in (ROOT / "jaxclip" /
        name).iterdir()),
    }  # fmt: skip
    notice = (ROOT / "NOTICE").read_text()
    licences = {Path(name).name for name in PROJECT["license-files"]}
    files = [path for folder in ("jaxclip", "convert") for path in (ROOT / folder).rglob("*") if path.is_file()]
    for path in files:
        if path.suffix != ".py" and "__pycache__" not in path.parts and path.name not in made_here | licences:
            assert path.relative_to(ROOT).as_posix() in notice
    assert all((ROOT / name).is_file() for name in PROJECT["license-files"])
