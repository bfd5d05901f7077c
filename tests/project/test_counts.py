"""Numbers with their nouns: "1 image", "2 images". Whatever can be one is said by `jaxclip.numerics.arrays.counted`."""

import ast
import re
from pathlib import Path

import pytest

from jaxclip.numerics.arrays import counted

ROOT = Path(__file__).resolve().parents[2]
FILES = [path for folder in ("jaxclip", "convert") for path in sorted((ROOT / folder).rglob("*.py"))]
NOUNS = (
    "images pictures files folders heads layers texts names classes labels rows columns masks hosts devices steps "
    "batches tokens tensors values lines numbers panels parts windows draws words groups components gaps records "
    "arrays chips neurons scenes splits kinds shards tasks prompts entries terms directions bytes"
)
PLURAL = re.compile(rf" (?:(?!of|says|names)[a-z-]+ )?(?:{NOUNS.replace(' ', '|')})\b")
NEVER_ONE = {
    "{classes[0]} names no": "a file",
    "{n} images are": "said otherwise for one",
    "{n} images, first": "said otherwise for one",
    "{n} tokens that": "a text has a first and a last token",
    "{text.context} tokens of": "a text has a first and a last token",
    "{said.n_tokens} tokens, and": "a class token and patches",
    "{n_heads} heads.": "one head divides every width",
    "{n_hosts} hosts, only by": "one host can take any number of parts",
    "{parts} equal parts;": "one part is every batch",
    "{data} devices; pass batch=": "one device takes every batch",
    "{MOST[self.chip]} chips;": "chips of the largest slice",
    "{len(class_words(data))} classes of": "CIFAR has 10 or 100 classes",
    "{len(values)} numbers from": "more than a limit",
    "{n * n_texts} panels, and": "more than a limit",
    "{deepest} layers, but": "more than the tensors there are",
    "{task.speed} images/s": "with a decimal",
    "{[len(some) for some in prompts]} prompts.": "a list",
    "{length} bytes": "of a picture, or more than a limit",
    "{n_bytes} bytes": "of a file of images",
    "{size} bytes": "more than a limit",
    "{MAX_INSIDE} bytes": "a limit",
    "{pickled.file_size} bytes": "more than a limit",
    "{needed} bytes": "of all weights",
    "{claimed} bytes": "of all weights",
    "{used} bytes": "of all weights",
}
"""How it begins -> why."""
NO_NUMBER = re.compile(
    r"\{(list\(|[^}]*\b(folder|path|name|source|label|run|file|kind|index|dtype|move)\b|_by\(|shown\(|size\[|counted\()"
)


def counts(text: str) -> list[str]:
    """What f-strings say with a noun in the plural: "{n} images"."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.JoinedStr):
            for value, words in zip(node.values, node.values[1:], strict=False):
                said = words.value if isinstance(words, ast.Constant) and isinstance(words.value, str) else ""
                if isinstance(value, ast.FormattedValue) and PLURAL.match(said):
                    found.append(f"{{{ast.unparse(value.value)}}}{said}")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_can_be_one_is_counted(path):
    found = [one for one in counts(path.read_text(encoding="utf-8")) if not NO_NUMBER.match(one)]
    assert [one for one in found if not one.startswith(tuple(NEVER_ONE))] == []


def test_the_search_finds_them():
    assert counts("f'{len(found)} files have changed'") == ["{len(found)} files have changed"]
    assert counts("f'of {n} ' f'stored numbers'") == ["{n} stored numbers"]
    assert counts("f'{n} of the rest'") == []


@pytest.mark.parametrize(
    ("n", "words", "said"),
    [
        (0, ("image",), "0 images"),
        (1, ("image",), "1 image"),
        (1204, ("image",), "1,204 images"),
        (1, ("class", "classes"), "1 class"),
        (2, ("class", "classes"), "2 classes"),
    ],
)
def test_counted(n, words, said):
    assert counted(n, *words) == said
