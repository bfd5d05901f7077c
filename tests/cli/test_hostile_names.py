"""Names that others chose are text wherever they are shown: on the terminal, in tables, pages and figures."""

import json
import re
import shutil
import warnings
from xml.dom import minidom

import numpy as np
import pytest
import report_run
from command import status, with_info
from PIL import Image
from safetensors.numpy import save as save_tensors

from jaxclip.data.scenes import CHECKPOINT
from jaxclip.files.printable import legible
from jaxclip.report.figures import effects_figure, map_figure, write
from jaxclip.report.html.build import escaped
from jaxclip.report.lettering import wrapped
from jaxclip.report.textspan import bases_markdown, print_bases

HOSTILE = "\x1b[2J\x1b]0;owned\x07\u202egnp.exe\r\n\x9b31m"
NAMES = [
    "\x1b[31mred", "a\nb\rc", "zero\x00", "photo\u202egnp.exe", "x" * 5000, "word " * 3000, "$\\frac{a}$ $x_",
    "half \udce9", "a\u2028b", "-- --> <b>&", "\ufffe\uffff", "%%", "\\n", "", " ",
]  # fmt: skip
HARM = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_figures_take_any_title(tmp_path, suffix):
    maps, picture = np.zeros((len(NAMES), 2, 2)), np.zeros((20, 20, 3), np.uint8)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "figures show boxes")
        figure = map_figure(picture, maps, NAMES, (0.0, 0.0, 20.0, 20.0), unit=HOSTILE)
        path = write(figure, tmp_path / f"map.{suffix}", 30.0)
        if suffix == "svg":
            minidom.parse(str(path))
        write(effects_figure(np.zeros((2, 2)), np.zeros(2), NAMES[4], NAMES[0]), tmp_path / f"effects.{suffix}", 30.0)


def test_titles_are_no_longer_than_there_is_room_for():
    assert wrapped("word " * 3000).count("\n") == 11
    assert wrapped("word " * 3000).endswith(" ...")
    assert wrapped("a star") == "a star"


def test_pages_hold_no_control_characters():
    for name in (*NAMES, HOSTILE):
        shown = json.loads(escaped({name: [name]}))
        assert not HARM.search(json.dumps(shown, ensure_ascii=False))
        assert list(shown) == shown[legible(name)] == [legible(name)]
    plain = "caf\u00e9 \u65e5\u672c\u8a9e \u0627\u0644 a\tb\nc"
    assert legible(plain) == plain
    assert len(legible("x" * 10**6)) == 10**6  # a picture in the page is one word


def test_tables_of_texts_are_text(capsys):
    head = {"variance_share": 0.5, "explained": [0.5], "texts": [HOSTILE], "categories": [f"{HOSTILE}|"]}
    found = {"model": HOSTILE, "pool": f"[bold]{HOSTILE}", "n_images": 1, "n_texts": 1, "rank": 1, "steps": 1,
             "heads": {"0.0": head}}  # fmt: skip
    print_bases(found)
    said = capsys.readouterr().err
    assert not HARM.search(said)
    assert "[bold]" in said
    rows = bases_markdown(found).splitlines()
    assert not HARM.search("\n".join(rows))
    assert [row.count("|") - row.count("\\|") for row in rows[-3:]] == [5, 5, 5]


def run_with_names(whole, folder):
    """The run under another folder's name, of a model and data with other names."""
    with_info(whole, folder, "model", name=HOSTILE, source=HOSTILE)
    return folder


@pytest.mark.parametrize(
    "line",
    [
        "textspan {}", "ablate {} --label shape", "report {}", "retrieve {} 0 --property colour",
        "debias {} --label bird --property background", "run scenes scenes --out {}",
    ],
)  # fmt: skip
def test_errors_about_a_run_are_text(tmp_path, tmp_path_factory, capsys, line):
    whole = report_run.run(tmp_path_factory.getbasetemp()).folder
    folder = run_with_names(whole, tmp_path / HOSTILE)
    words = [word.format(folder) for word in line.split()]
    assert status(*words, *(["--out", tmp_path / "out"] if "--out" not in words else [])) == 1
    said = capsys.readouterr().err
    assert r"\x1b[2J" in said
    assert not HARM.search(said)


def test_pictures_classes_and_labels_are_text(tmp_path, capsys):
    for name in (f"a{HOSTILE}", f"b{HOSTILE}"):
        (tmp_path / "data" / name.replace("/", "")).mkdir(parents=True)
        Image.new("RGB", (16, 16)).save(tmp_path / "data" / name / f"{HOSTILE}.png")
        (tmp_path / "data" / name / f"broken{HOSTILE}.png").write_bytes(b"broken")
    (tmp_path / "data" / HOSTILE).mkdir()
    assert status("run", "scenes", tmp_path / "data", "--batch", 20, "--out", tmp_path / HOSTILE) == 0
    said = capsys.readouterr().err
    assert r"\x1b[2J" in said
    assert not HARM.search(said)


@pytest.mark.parametrize("what", ["tensor", "config", "folder", "results"])
def test_what_a_checkpoint_or_a_result_says_is_text(tmp_path, tmp_path_factory, capsys, what):
    if what == "results":
        (tmp_path / HOSTILE).mkdir()
        (tmp_path / HOSTILE / "results.json").write_text(f'{{"a": {json.dumps(HOSTILE)}, "a": 1}}')
        run = report_run.run(tmp_path_factory.getbasetemp()).folder
        words = ["report", run, "--results", tmp_path / HOSTILE, "--out", tmp_path / "out.html"]
    else:
        source = tmp_path / (HOSTILE if what == "folder" else "source")
        shutil.copytree(CHECKPOINT, source)
        weights = source / "open_clip_model.safetensors"
        if what == "tensor":
            weights.write_bytes(save_tensors({f"{HOSTILE}.weight": np.ones(3, np.float32)}))
        elif what == "config":
            fields = json.loads((source / "open_clip_config.json").read_text())
            fields["model_cfg"]["vision_cfg"][HOSTILE] = 1
            (source / "open_clip_config.json").write_text(json.dumps(fields))
        else:
            weights.unlink()
        words = ["convert", source, tmp_path / "model"]
    assert status(*words) == 1
    said = capsys.readouterr().err
    assert r"\x1b[2J" in said
    assert not HARM.search(said)
    assert len(said.strip().splitlines()) == 1
