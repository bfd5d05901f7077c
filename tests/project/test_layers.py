"""The house: which room may import which, that nothing runs in a circle, and that tests lie as rooms do."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLOORS = (
    "axes config version", "numerics", "model", "files", "devices", "preprocess tokenizer", "data", "convert", "clip",
    "zeroshot verify", "runs", "analyses planner", "moved", "__init__", "report", "cli", "__main__ experiments tpu",
)  # fmt: skip
"""From the ground up, as docs/architecture.md draws them. A room imports what lies below it, and of its own floor
itself alone."""
FLOOR = {room: height for height, rooms in enumerate(FLOORS) for room in rooms.split()}
APART = {"helpers", "fuzz", "golden", "parity", "project", "typings", "__pycache__"}
"""Folders of tests/ that are no room of the library's."""


def dotted(path: Path) -> str:
    """The name that a file is imported by; convert/ is installed inside the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = ("jaxclip", *parts) if parts[0] == "convert" else parts
    return ".".join(part for part in parts if part != "__init__")


FOLDERS = ("jaxclip", "convert", "experiments", "tpu")
MODULES = {dotted(path): path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}


def room(module: str) -> str:
    """The room that a module lies in: the first folder below jaxclip/, or the file itself."""
    first, _, rest = module.partition(".")
    return (rest.split(".")[0] or "__init__") if first == "jaxclip" else first


def imports(path: Path) -> set[str]:
    """Modules of this repository that a file imports: at its top, inside functions, and by a name in a string."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute, so that this test and readers see where they lead"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in MODULES else str(node.module))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "." in node.value:
            found.add(node.value)
    return found & set(MODULES)


ARROWS = {module: imports(path) for module, path in MODULES.items()}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_down(module):
    here = room(module)
    for other in ARROWS[module]:
        if room(other) != here:
            assert FLOOR[room(other)] < FLOOR[here], f"{module} imports {other}, which does not lie below it"


@pytest.mark.parametrize("module", [module for module in MODULES if room(module) == "experiments"])
def test_experiments_use_what_a_user_has(module):
    """The library, and commands as they are run; what only the command line or a figure of it can do is not there."""
    taken = {other for other in ARROWS[module] if room(other) in ("cli", "report", "__main__")}
    assert not taken, f"{module} imports {sorted(taken)}; what a script needs of it belongs into the library"


def test_no_imports_run_in_a_circle():
    """Lazy ones included: what is imported inside a function is needed all the same."""
    left = {module: others - {module} for module, others in ARROWS.items() if module != "jaxclip"}
    while free := [module for module, others in left.items() if not others & set(left)]:
        for module in free:
            del left[module]
    assert not left, f"in a circle, or above one: {sorted(left)}"


def test_every_room_has_a_floor_and_the_package_few_files_beside_its_rooms():
    assert {room(module) for module in MODULES} == set(FLOOR)
    assert len(list((ROOT / "jaxclip").glob("*.py"))) <= 12


def test_tests_lie_as_rooms_do():
    rooms = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir()} - APART
    assert rooms <= set(FLOOR) | {"experiments", "tpu"}, "a folder of tests is named as the room that it tests"
    stray = [path.name for path in (ROOT / "tests").glob("test_*.py")]
    assert not stray, f"tests lie in the room that they test: {stray}"
