"""The pool of image descriptions: one a line, none twice, every category where the table says."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "jaxclip" / "data"


def lines():
    return (DATA / "descriptions.txt").read_text().splitlines()


def test_none_is_empty_or_occurs_twice():
    pool = lines()
    assert len(pool) > 3400
    assert all(line == line.strip() and len(line) > 3 for line in pool)
    assert len({line.lower() for line in pool}) == len(pool)


def test_the_table_covers_the_pool():
    ranges = list(json.loads((DATA / "descriptions.json").read_text()).values())
    assert [start for start, _ in ranges] == [0, *(stop for _, stop in ranges[:-1])]
    assert ranges[-1][1] == len(lines())


def test_the_script_writes_the_same_again(tmp_path):
    source = (ROOT / "experiments" / "descriptions.py").read_text()
    (tmp_path / "experiments").mkdir()
    (tmp_path / "jaxclip" / "data").mkdir(parents=True)
    (tmp_path / "experiments" / "descriptions.py").write_text(source)
    words = ROOT / "experiments" / "description_words.txt"
    (tmp_path / "experiments" / "description_words.txt").write_text(words.read_text())
    subprocess.run([sys.executable, tmp_path / "experiments" / "descriptions.py"], check=True)
    for name in ("descriptions.txt", "descriptions.json"):
        assert (tmp_path / "jaxclip" / "data" / name).read_bytes() == (DATA / name).read_bytes()
