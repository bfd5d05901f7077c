"""The public names: listed once by section, documented in that order, of one meaning each, and what examples use."""

import ast
import doctest
import re
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

import jaxclip

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(jaxclip.__all__)


def full(name, home):
    """The dotted name that documentation knows a public name by."""
    return f"jaxclip.{home}" if isinstance(getattr(jaxclip, name), ModuleType) else f"jaxclip.{home}.{name}"


def test_dir_lists_them_and_nothing_else():
    assert dir(jaxclip) == NAMES
    assert len(NAMES) == len(set(NAMES)) == sum(map(len, jaxclip._SECTIONS.values()))
    with pytest.raises(AttributeError, match="'sys_'"):
        _ = jaxclip.sys_


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_there_and_means_one_thing(name):
    found = getattr(jaxclip, name)
    if isinstance(found, ModuleType):
        assert found.__name__ == f"jaxclip.{jaxclip._HOMES[name]}"
    else:
        assert (found.__name__, found.__module__) == (name, f"jaxclip.{jaxclip._HOMES[name]}")
    assert find_spec(f"jaxclip.{name}") is None, f"jaxclip.{name} is a module too: the name would change its meaning"
    assert found.__doc__


def test_type_checkers_see_the_same_names():
    tree = ast.parse((ROOT / "jaxclip" / "__init__.py").read_text())
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {}
    for node in block.body:
        for alias in node.names:
            assert alias.asname, "an import `as` its name is what type checkers take for public"
            module = f"{node.module}.{alias.name}"
            seen[alias.asname] = module if isinstance(getattr(jaxclip, alias.asname), ModuleType) else node.module
    assert seen == {name: f"jaxclip.{home}" for name, home in jaxclip._HOMES.items()}


def test_the_documentation_has_the_same_sections():
    text = (ROOT / "docs" / "api.md").read_text()
    found = {}
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        found[title] = re.findall(r"^\* \[`(\w+)`\]\[([\w.]+)\]: ", body, re.MULTILINE)
        shown = re.findall(r"^::: ([\w.]+)$", body, re.MULTILINE)
        for name, target in found[title]:
            assert any(target == one or target.startswith(f"{one}.") for one in shown), f"{name} has no documentation"
    assert found.pop("Beside them") == []
    expected = {title: [(name, full(name, home)) for name, home in names.items()]
                for title, names in jaxclip._SECTIONS.items()}  # fmt: skip
    assert found == expected


@pytest.mark.parametrize("page", sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), ROOT / "docs/tour.py"]))
def test_examples_use_public_names(page):
    """What has a public name is used by it; other imports are of modules that a page is about."""
    text = page.read_text()
    blocks = [text] if page.suffix == ".py" else re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    for block in blocks:
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jaxclip."):
                deep = [one.name for one in node.names if getattr(jaxclip, one.name, None) is not None]
                assert not deep, f"{page.name}: write jaxclip.{deep[0]}"
                assert f"jaxclip.{jaxclip._HOMES['scenes']}" != node.module, f"{page.name}: write jaxclip.scenes"


EXAMPLES = [name for name in NAMES if ">>>" in (getattr(jaxclip, name).__doc__ or "")]


def test_there_are_examples():
    assert {"load", "open_data", "text_embeddings", "textspan", "nearest"} <= set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_in_docstrings_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    example = doctest.DocTestParser().get_doctest(getattr(jaxclip, name).__doc__, {"jaxclip": jaxclip}, name, None, 0)
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).run(example)
    assert result.failed == 0
    assert 1 <= result.attempted <= 5
