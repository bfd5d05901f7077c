"""Docstrings begin as a stranger expects: a function's with a verb that says what it does, a class's with a noun."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
VERBS = frozenset(
    """
    add allocate answer apply arrange ask average begin build carry cast change check choose clip collect colour
    compare compute convert count create cut decide decode delete describe divide draw drop embed encode end enlarge
    enter expand explain export fetch fill find fit follow gather give go guess hash have hold invert join keep
    label lay let list load look lower make map mark match measure merge mix move name nest normalise offer open
    order pack parse pick place pool port predict prepare print project put raise rank read recognise reduce refuse
    remove render repair replace report resize return run sample save say score search segment send set show skip
    sort split start stop store strip sum swap take tell
    train translate try turn update wait warn watch write yield
    """.split()  # noqa: SIM905
)
"""First words of functions' docstrings, in the imperative. A verb that is missing may be added; a noun may not."""
LATER = frozenset(
    {
        "analyses", "cli", "clip.py", "data", "files", "model", "numerics", "report", "runs",
        "verify",
    }
)  # fmt: skip
"""Rooms whose docstrings are still to be put right. This list only becomes shorter."""
VAGUE = ("whatever", "nobody", "of which")
"""Words that make a reader ask what is meant."""
PROPERTIES = {"property", "cached_property", "setter"}


def room(path: Path) -> str:
    parts = path.relative_to(ROOT).parts
    return parts[0] if parts[0] == "convert" else parts[1]


def documented(path: Path) -> list[tuple[str, str, bool]]:
    """Where each docstring is, what it says, and whether a function has it; properties are values, and left out."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        marks = {getattr(one, "attr", getattr(one, "id", "")) for one in node.decorator_list}
        if (text := ast.get_docstring(node)) and not marks & PROPERTIES:
            found.append(
                (f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", text, not isinstance(node, ast.ClassDef))
            )
    return found


def begins_with_a_verb(text: str) -> bool:
    return text.split()[0].strip(".,:;") in {verb.capitalize() for verb in VERBS}


DOCSTRINGS: dict[str, list[tuple[str, str, bool]]] = {}
for folder in ("jaxclip", "convert"):
    for module in sorted((ROOT / folder).rglob("*.py")):
        if module.is_relative_to(ROOT / "jaxclip" / "convert"):
            continue  # a link to convert/, where somebody made one
        DOCSTRINGS.setdefault(room(module), []).extend(documented(module))


@pytest.mark.parametrize("name", sorted(DOCSTRINGS.keys() - LATER))
def test_docstrings_begin_with_a_verb_or_a_noun_and_say_what_they_mean(name):
    for where, text, of_function in DOCSTRINGS[name]:
        first = text.splitlines()[0]
        if of_function:
            assert begins_with_a_verb(text), f"{where}: {first!r} must begin with a verb, such as one of VERBS"
        else:
            assert not begins_with_a_verb(text), f"{where}: {first!r} must begin with a noun"
        assert not [word for word in VAGUE if word in text.lower()], f"{where}: say plainly what is meant"


def test_rooms_that_are_put_right_leave_the_list_of_later():
    assert DOCSTRINGS.keys() >= LATER
    done = {
        name for name in LATER
        if all(begins_with_a_verb(text) == of_function for _, text, of_function in DOCSTRINGS[name])
        and not any(word in text.lower() for _, text, _ in DOCSTRINGS[name] for word in VAGUE)
    }  # fmt: skip
    assert not done, f"take {', '.join(sorted(done))} out of LATER"


def test_the_rule_tells_verbs_from_nouns():
    assert begins_with_a_verb("Read a file.")
    assert not any(map(begins_with_a_verb, ("What a file holds.", "The file.", "Reads a file.", "SHA-256 of a file.")))
