"""What README and docs say of speed is what the benchmarks wrote, and the benchmarks measure what they say."""

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "experiments"))
tables, benching, textspans = (importlib.import_module(name) for name in ("bench_tables", "benching", "bench_textspan"))


@pytest.mark.parametrize("page", tables.PAGES, ids=lambda page: page.name)
def test_tables_are_what_was_measured(page):
    text = page.read_text()
    assert tables.MARKED.search(text)
    assert tables.filled(text, tables.read()) == text


def test_a_table_says_what_the_results_say_and_what_they_lack(tmp_path):
    taken = {"median": 51.26, "low": 50.04, "high": 123.4, "best": 50.0}
    written = {"reference": {"reference": {"times full": taken}}}
    (tmp_path / "bench_peers.json").write_text(json.dumps(written))
    page = "before\n<!-- bench speed -->\nold\n<!-- end -->\nafter\n"
    made = tables.filled(page, tables.read(tmp_path))
    assert '| the released code, two images at a time / `detail="full"` | 51.3 (50.0 to 123) |' in made
    assert "| plain forward pass / open_clip's in PyTorch | not measured |" in made
    assert made.startswith("before\n")
    assert made.endswith("after\n")
    assert "old" not in made
    assert tables.filled(made, tables.read(tmp_path)) == made


def test_ratios_are_taken_within_a_turn(monkeypatch):
    """A machine that gets slower with every turn slows all alike, and the ratio stays."""
    clock, calls = [0.0], []
    monkeypatch.setattr(benching, "time", SimpleNamespace(perf_counter=lambda: clock[0]))

    def taking(name, long):
        def run():
            calls.append(name)
            clock[0] += long * (1 + (len(calls) - 1) // 2)

        return run

    found = benching.by_turns(
        {"one": taking("one", 1.0), "six": taking("six", 6.0)}, 3, "one", images={"one": 1, "six": 2}
    )
    assert calls == ["one", "six"] * 4
    assert found["one"]["seconds"] == {"median": 3, "low": 2, "high": 4, "best": 2}
    assert found["six"]["seconds"]["median"] == 9
    assert found["six"]["times one"] == {"median": 3, "low": 3, "high": 3, "best": 3}


def test_the_exponent_is_that_of_the_power_law():
    sizes = np.array([10, 20, 50])
    assert benching.exponent(sizes, 3 * sizes**1.5) == pytest.approx(1.5)


def test_the_peak_of_a_process_is_its_own():
    small, large = (benching.peak_of(f"x = bytearray({n}); print(peak())")[0] for n in (1, 300_000_000))
    assert small < 100e6 < 300e6 < large


def test_the_loop_that_textspan_is_timed_against_picks_what_textspan_picks():
    import jaxclip

    coordinates, basis = textspans.samples(500, 12, 32)
    texts = textspans.directions(200, 32)
    picks = textspans.loop(np.float64(coordinates @ basis), np.float64(texts), 8, 9)
    ours = jaxclip.textspan(jaxclip.Moments.of(coordinates, basis=basis), texts, steps=8, rank=9)
    np.testing.assert_array_equal(ours.indices, picks)
