"""Figures are made under settings of their own: what their reader has set changes none, and none of them changes it."""

import os
import subprocess
import sys
import warnings

import matplotlib as mpl
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.text import Text
from test_figures import MAKERS, MAPS, PICTURE

from jaxclip.report import figures, lettering, masks, overlays

SESSION = {"backend", "interactive", "toolbar", "webagg.port", "savefig.directory"}


def other(value):
    """What somebody else may have set in the place of a value."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [value * 1.5 + 1, value / 2]
    words = ["red", "lower", "upper", "right", "dashed", "bold", "serif", "round", "log", "tight", "in", "both", "2"]
    return [[2.0, 3.0], *words] if not isinstance(value, list) else [[], [9.0, 3.0], ["serif"], ["Liberation Mono"]]


def hostile():
    """Every setting of matplotlib changed, where it can be."""
    changed = mpl.RcParams()
    for name in mpl.rcParamsDefault:
        if name in SESSION or name.startswith(("animation", "keymap", "webagg", "date", "text.usetex", "pgf")):
            continue
        for value in other(mpl.rcParamsDefault[name]):
            try:
                changed[name] = value
            except (ValueError, TypeError, KeyError, AttributeError, RuntimeError):
                continue
            if changed[name] != mpl.rcParamsDefault[name]:
                break
    return dict(changed)


@pytest.fixture(scope="module")
def settings():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return hostile()


def drawings():
    """Every kind of figure that is made, those of masks and overlays too."""
    rows = [overlays.Row("all heads", np.repeat(np.repeat(MAPS, 4, 1), 4, 2), 1.0)]
    found = [masks.Shown("a", "b", PICTURE, np.eye(8, dtype=np.int32), None)]
    return MAKERS | {
        "overlays": lambda: overlays.overlay_figure(PICTURE, rows, ["a", "b"], "unit"),
        "masks": lambda: masks.masks_figure(found, ["cat"]),
    }


@pytest.mark.parametrize("name", drawings())
def test_no_setting_reaches_a_figure(name, settings, tmp_path):
    make = drawings()[name]
    for suffix in ("svg", "png"):
        plain = figures.write(make(), tmp_path / f"plain.{suffix}", 50.0).read_bytes()
        with mpl.rc_context():
            dict.update(mpl.rcParams, settings)
            before = dict.copy(mpl.rcParams)
            found = figures.write(make(), tmp_path / f"set.{suffix}", 50.0).read_bytes()
            assert dict.copy(mpl.rcParams) == before
        assert found == plain


def test_the_settings_tried_are_most_of_them_and_change_figures(settings, tmp_path):
    assert len(settings) > 200
    assert settings["image.origin"] == "lower"
    plain, touched = (Figure() for _ in range(2))
    plain.subplots().imshow(PICTURE)
    with mpl.rc_context({"image.origin": settings["image.origin"]}):
        touched.subplots().imshow(PICTURE)
    assert plain.axes[0].images[0].origin != touched.axes[0].images[0].origin


RC = {
    "nothing but bytes": b"\xff\xfe\x00image.origin: lower\n",
    "no settings at all": b"this is no setting\nfigure.dpi\n",
    "a setting that is none": b"image.origin: sideways\n",
    "upside down": b"image.origin: lower\nsavefig.bbox: tight\nfont.family: monospace\n",
}


@pytest.mark.parametrize("place", ["MATPLOTLIBRC", "MPLCONFIGDIR", "here"])
@pytest.mark.parametrize("kind", RC)
def test_a_command_reads_no_settings_file(kind, place, tmp_path):
    (tmp_path / "matplotlibrc").write_bytes(RC[kind])
    environment = os.environ | {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    environment |= {} if place == "here" else {place: str(tmp_path)}
    code = (
        "from jaxclip.cli.surroundings import surroundings\n"
        "import os\n"
        "with surroundings():\n"
        "    import matplotlib as mpl\n"
        "    assert mpl.rcParams['image.origin'] == 'upper', mpl.rcParams['image.origin']\n"
        "    assert mpl.rcParams['savefig.bbox'] is None\n"
        "assert os.environ['MPLBACKEND'].endswith('inline')\n"
    )
    where = tmp_path if place == "here" else tmp_path.parent
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=where, capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, "")


def a_font(path, name, letters):
    """A font that has a square for each of some letters."""
    builder, pen = FontBuilder(1000, isTTF=True), TTGlyphPen(None)
    for step, point in enumerate([(100, 0), (100, 700), (800, 700), (800, 0)]):
        (pen.lineTo if step else pen.moveTo)(point)
    pen.closePath()
    names = [".notdef", *(f"uni{ord(one):04X}" for one in letters)]
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap(dict(zip(map(ord, letters), names[1:], strict=True)))
    builder.setupGlyf(dict.fromkeys(names, pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (900, 100)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": name, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return path


@pytest.fixture
def fonts(tmp_path, monkeypatch):
    """A system with two fonts for some Chinese and Korean, one of them with serifs."""
    for cached in (lettering._fonts, lettering._warn):
        cached.cache_clear()
    monkeypatch.setattr(font_manager.fontManager, "ttflist", list(font_manager.fontManager.ttflist))
    for name, letters in (("Some Serif", "一只猫"), ("Some Sans", "一只猫"), ("Korean", "고양이猫")):
        font_manager.fontManager.addfont(a_font(tmp_path / f"{name}.ttf", name, letters))
    yield
    for cached in (lettering._fonts, lettering._warn):
        cached.cache_clear()


def titles(figure):
    return {text.get_text(): text.get_fontfamily() for text in figure.findobj(Text) if text.get_text()}


def test_letters_come_from_a_font_that_has_them(fonts, tmp_path):
    texts = ["一只猫", "고양이 a cat"]
    figure = figures.map_figure(PICTURE, MAPS, texts, (0.0, 0.0, 8.0, 8.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figures.save(figure, tmp_path / "map.png")
        figures.save(figure, tmp_path / "map.svg")
    families = titles(figure)
    assert families["一只猫"] == families["고양이 a cat"] == [lettering.PLAIN, "Korean", "Some Sans"]
    assert families["picture"] == ["sans-serif"]


@pytest.mark.parametrize("text", ["明", "नमस्ते", "🦩 flamingo", "ᚠᚢᚦ and 明"])
def test_what_no_font_has_is_said_once(fonts, text, tmp_path):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for name in ("one.png", "two.svg", "three.pdf"):
            figure = figures.map_figure(PICTURE, MAPS, [text, text], (0.0, 0.0, 8.0, 8.0))
            figures.save(figure, tmp_path / name)
    lacking = [one for one in said if "no font of this system has" in str(one.message)]
    if lettering._fonts(lettering._lacking(text))[1]:
        assert len(said) == len(lacking) == 1
    else:  # a system with fonts for it
        assert not said


def test_letters_of_the_plain_font_need_no_other(tmp_path):
    text = "a café, Ωμέγα, Привет — “quoted” ½ \u200d\ufe0f"
    figure = figures.map_figure(PICTURE, MAPS, [text, "b"], (0.0, 0.0, 8.0, 8.0))
    lettering.letter(figure)
    assert set(map(tuple, titles(figure).values())) == {("sans-serif",)}


@pytest.mark.parametrize("text", ["costs $5 and $6", r"\alpha $\alpha$", "$", "a_b^c", "$$"])
def test_no_text_is_a_formula(text, tmp_path):
    figure = figures.map_figure(PICTURE, MAPS, [text, "b"], (0.0, 0.0, 8.0, 8.0))
    assert text in titles(figure)
    figures.save(figure, tmp_path / "map.svg")  # formulas that are none would fail here
    shown = next(one for one in figure.findobj(Text) if one.get_text() == text)
    assert not shown.get_parse_math()


def test_lines_break_between_words_and_between_wide_letters():
    text = "a photo of a very large dog in the park"
    assert lettering.wrapped(text, 12) == "a photo of a\nvery large\ndog in the\npark"
    assert lettering.wrapped("一只猫坐在公园的长椅上", 10) == "一只猫坐在\n公园的长椅\n上"
    assert lettering.wrapped("猫 cats 犬", 10) == "猫 cats 犬"
    assert lettering.wrapped(text, 12, most=2) == "a photo of a\nvery lar ..."
    assert lettering.wrapped("", 12) == ""
    assert lettering.wrapped("unbreakable" * 3, 12) == "unbreakable" * 3
