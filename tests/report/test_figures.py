"""Figures: they show the numbers they were given, are the same file every time, and every colour vision reads them."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from jaxclip.report import (
    ablate,
    colours,
    debias,
    figures,
    overlays,
    retrieve,
    textspan,
)

ABLATION = {
    "model": "small", "label": "shape", "accuracy": 0.9, "chance": 0.1, "mlps_and_input": 0.5, "mlps_alone": 0.55,
    "class_attn": 0.85, "both": 0.4,
    "attention_layers": [0.9, 0.8, 0.3], "heads": [[0.9, 0.85], [0.95, 0.5]],
    "completeness": {
        "late_layers": 1, "n_texts": [0, 1, 2], "mlps_kept": {"accuracy": [0.3, 0.6, 0.8], "heads_intact": 0.85},
        "mlps_and_input_ablated": {"accuracy": [0.1, 0.2, 0.4], "heads_intact": 0.5},
    },
}  # fmt: skip
PART = {"worst_group": 0.6, "overall": 0.8, "groups": {"duck_on_water": {"accuracy": 0.6}, "b": {"accuracy": 0.9}}}
SPREAD = {"mean": 0.5, "std": 0.1}
DEBIASED = {
    "label": "bird", "property": "background", "chance": 0.5, "heads": ["1.0"], "proposed": False,
    "before": PART, "after": PART,
    "random": {"groups": {"duck_on_water": 0.5, "b": 0.6}, "worst_group": SPREAD, "overall": SPREAD, "draws": [1, 2]},
    "ranking": [{"head": "1.0", "basis": 0.9, "variance": 0.7, "score": 0.8}],
    "curve": {"worst_group": [0.6, 0.7], "overall": [0.8, 0.75]},
}  # fmt: skip
PRECISION = {"k": 10, "precision": {"colour": {"heads": ["1.0"], "by_heads": 0.9, "by_embedding": 0.5, "chance": 0.1}}}
BASES = {
    "model": "small", "layers": [1], "steps": 2,
    "heads": {"1.0": {"variance_share": 0.3, "texts": ["costs $5 and $6", None], "explained": [0.4, 0.4]}},
}  # fmt: skip
PICTURE = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
MAPS = np.linspace(-1, 1, 8).reshape(2, 2, 2).astype(np.float32)

MAKERS = {
    "layers": lambda: ablate.layers_figure(ABLATION),
    "heads": lambda: ablate.heads_figure(ABLATION),
    "completeness": lambda: ablate.completeness_figure(ABLATION),
    "groups": lambda: debias.groups_figure(DEBIASED),
    "ranking": lambda: debias.ranking_figure(DEBIASED),
    "curve": lambda: debias.curve_figure(DEBIASED),
    "precision": lambda: retrieve.precision_figure(PRECISION),
    "bases": lambda: textspan.bases_figure(BASES),
    "map": lambda: figures.map_figure(PICTURE, MAPS, ["a", "b"], (0.0, 0.0, 8.0, 8.0)),
    "effects": lambda: figures.effects_figure(MAPS[0], MAPS[0, 0], "a", "direct effect"),
}
SIGHT = {
    "all cones": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
"""On linear red, green and blue. Source: Machado, Oliveira and Fernandes, IEEE TVCG 15(6), 2009, severity 1."""


def seen(rgb, matrix):
    """CIELAB of what a reader sees of sRGB colours."""
    rgb = np.asarray(rgb, float)
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ np.transpose(matrix)
    xyz = np.clip(linear, 0, 1) @ xyz_of_srgb().T
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


def xyz_of_srgb():
    """sRGB's primaries (IEC 61966-2-1), relative to its white."""
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    return matrix / matrix.sum(1, keepdims=True)


@pytest.mark.parametrize("sight", SIGHT)
def test_every_reader_tells_lines_and_signs_apart(sight):
    named = [colours.BLUE, colours.RED, colours.GREEN, colours.YELLOW, colours.GREY, "#000000"]
    lab = seen([to_rgb(name) for name in named], SIGHT[sight])
    # A difference of 2.3 is just noticeable.
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(lab, 2)) > 12
    signed = seen(colours.diverging()([0.0, 0.25, 0.5, 0.75, 1.0])[:, :3], SIGHT[sight])
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(signed, 2)) > 15
    # Lighter towards zero from either side, in print without colour too.
    lightness = seen(colours.diverging()(np.linspace(0, 1, 41))[:, :3], SIGHT[sight])[:, 0]
    assert (np.diff(lightness[:21]) > 0).all()
    assert (np.diff(lightness[20:]) < 0).all()


FILES = [*itertools.product(MAKERS, ["svg"]), *itertools.product(["layers", "map"], ["png", "pdf"])]


@pytest.mark.parametrize(("name", "suffix"), FILES)
def test_the_same_figure_is_the_same_file(name, suffix, tmp_path):
    one, two = (figures.save(MAKERS[name](), tmp_path / f"{i}.{suffix}").read_bytes() for i in range(2))
    assert one == two
    assert one.startswith({"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[suffix])
    # Paths, not pictures of lines, in what is drawn of lines alone.
    if suffix == "svg" and name in ("layers", "completeness", "groups", "ranking", "curve", "precision"):
        assert b"<image" not in one


def test_lines_are_the_numbers():
    drawn = {line.get_label(): line.get_ydata() for line in MAKERS["layers"]().axes[0].lines}
    np.testing.assert_array_equal(drawn["attention layers, from the first"], ABLATION["attention_layers"])
    assert {
        float(drawn[name][0])
        for name in ("MLPs and input", "MLPs, input and self-attention", "nothing ablated", "chance")
    } == {
        0.5,
        0.4,
        0.9,
        0.1,
    }
    curves = {line.get_label(): line.get_ydata() for line in MAKERS["completeness"]().axes[0].lines}
    np.testing.assert_array_equal(curves["MLPs and input kept"], [0.3, 0.6, 0.8])
    np.testing.assert_array_equal(curves["MLPs and input ablated"], [0.1, 0.2, 0.4])
    bars = [bar.get_height() for bar in MAKERS["precision"]().axes[0].patches]
    assert bars == [0.9, 0.5, 0.1]


def test_heads_are_changes_in_points_under_one_scale_centred_at_zero():
    [image] = MAKERS["heads"]().axes[0].images
    np.testing.assert_allclose(image.get_array(), [[0, -5], [5, -40]], atol=1e-9)
    assert image.get_clim() == pytest.approx((-40, 40))


def test_print_has_dots_enough(tmp_path):
    from PIL import Image

    with Image.open(figures.save(MAKERS["layers"](), tmp_path / "layers.png")) as drawn:
        assert drawn.width >= 300 * 6


def test_overlays_are_the_same_file_too(tmp_path):
    rows = [overlays.Row("all heads", np.repeat(np.repeat(MAPS, 4, 1), 4, 2), 1.0)]
    for suffix in ("png", "svg", "pdf"):
        one, two = (
            overlays.save_overlay_figure(
                overlays.overlay_figure(PICTURE, rows, ["a", "b"], "unit"), tmp_path / f"{i}.{suffix}"
            ).read_bytes()
            for i in range(2)
        )
        assert one == two
