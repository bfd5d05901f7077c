"""The scenes: one seed and index, one scene, everywhere; and what a scene records is what its pixels show."""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from jaxclip.data.scenes import CLASSES, FACTORS, Group, SceneSpec, drawing, render, sample_spec, scene, scene_rng
from jaxclip.data.scenes.spec import BIRDS, DIAMETERS, SHAPES

SPLITS = ("train", "validation", "test")
SIZE = 96


def digest(split, index):
    drawn = scene(3, split, index, size=48)
    said = repr((drawn["captions"], drawn["spec"], drawn["placements"], drawn["labels"]))
    arrays = b"".join(drawn[name].tobytes() for name in ("image", "mask", "instances"))
    return hashlib.sha256(arrays + said.encode()).hexdigest()


def test_a_scene_is_the_same_in_every_process_and_order():
    wanted = [(split, index) for split in SPLITS for index in (0, 1, 3, 1000)]
    code = "from test_scenes import digest; import sys; print(*(digest(s, i) for s, i in eval(sys.argv[1])))"
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", code, repr(wanted[::-1])]
    other = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()
    here = [digest(split, index) for split, index in wanted]
    assert here == other[::-1]
    assert len(set(here)) == len(wanted)


def test_seeds_give_other_scenes():
    assert not np.array_equal(scene(0, "train", 5)["image"], scene(1, "train", 5)["image"])


@pytest.mark.parametrize(
    ("seed", "split", "index", "message"),
    [
        (0, "dev", 0, "split must be one of train, validation, test; got 'dev'"),
        (0, "train", -1, "seed and index must not be negative; got seed 0 and index -1"),
        (-1, "train", 0, "seed and index must not be negative"),
    ],
)
def test_bad_requests_are_named(unchecked, seed, split, index, message):
    with pytest.raises(ValueError, match=message):
        scene(seed, split, index)


def test_scenes_too_small_to_show_anything_are_refused():
    with pytest.raises(ValueError, match="at least 32 pixels to show their objects; got size 20"):
        scene(0, "train", 0, size=20)


@pytest.mark.parametrize(("split", "per_cent"), [("train", 95), ("validation", 50), ("test", 50)])
def test_bird_and_background_agree_as_often_as_the_split_says(split, per_cent):
    """Counted from the record of the scene itself; both kinds are equally frequent in every split."""
    specs = [sample_spec(scene_rng(0, split, index), split, index) for index in range(1600)]
    birds = [(s.groups[0].category, s.background == "water") for s in specs if s.kind == "birds"]
    count = Counter(birds)
    assert len(birds) == 400
    assert count["duck", True] == count["finch", False] == per_cent * 2
    assert count["duck", False] == count["finch", True] == (100 - per_cent) * 2


def test_labels_name_the_factors_of_the_record():
    for index in range(200):
        drawn = scene(0, "train", index, size=32, n_captions=1)
        spec, labels = drawn["spec"], drawn["labels"]
        assert labels.keys() == FACTORS.keys()
        word = {name: FACTORS[name][label] if label >= 0 else None for name, label in labels.items()}
        assert (word["background"], word["relation"]) == (spec["background"], spec["relation"])
        group = spec["groups"][0]
        alone, bird = len(spec["groups"]) == 1, group["category"] in BIRDS
        shape = group["category"] if alone and not bird else None
        assert (word["shape"], word["bird"]) == (shape, group["category"] if bird else None)
        for name in ("colour", "size", "place"):
            assert word[name] == (group[name] if alone else None)
        assert labels["number"] == (group["number"] - 1 if alone else -1)
        assert word["texture"] == (group["texture"] if alone and not bird else None)
        assert word["group"] == (f"{group['category']}_on_{'water' if spec['background'] == 'water' else 'land'}"
                                 if bird else None)  # fmt: skip


def drawn_on(monkeypatch, level, spec, seed):
    """The scene in front of an even grey; whatever is random about its objects stays the same."""
    with monkeypatch.context() as patch:
        patch.setattr(drawing, "paint_background", lambda rng, name, size: np.full((size, size, 3), level, np.float32))
        return render(spec, np.random.default_rng(seed), SIZE)


@pytest.mark.parametrize("index", range(40))
def test_masks_are_the_pixels_that_objects_cover_at_least_half(monkeypatch, index):
    """An object that covers the share `c` of a pixel leaves `1 - c` of any change of what is behind it."""
    spec = sample_spec(scene_rng(0, "test", index), "test", index)
    dark, light = (drawn_on(monkeypatch, level, spec, index) for level in (60, 190))
    uncovered = (light.image.astype(int) - dark.image).mean(-1) / 130
    decided = np.abs(uncovered - 0.5) > 0.01  # images are rounded to whole levels
    np.testing.assert_array_equal((dark.mask > 0)[decided], (uncovered < 0.5)[decided])
    assert decided.mean() > 0.99
    np.testing.assert_array_equal(dark.mask, light.mask)


@pytest.mark.parametrize("category", SHAPES)
def test_changing_the_colour_changes_the_mask_and_its_antialiased_rim_alone(category):
    group = Group(category=category, colour="red", texture="plain", size="medium", number=2, place=None)
    spec = SceneSpec(kind="shapes", background="forest", groups=(group,))
    other = replace(spec, groups=(replace(group, colour="blue"),))
    red, blue = (render(some, np.random.default_rng(0), SIZE) for some in (spec, other))
    changed = (red.image != blue.image).any(-1)
    assert changed[red.mask > 0].all()
    # Beyond a sharp point, such as a star's, pixels that are covered less than half reach two pixels far.
    assert not changed[~ndimage.binary_dilation(red.mask > 0, np.ones((5, 5)))].any()
    assert changed.sum() < 1.5 * (red.mask > 0).sum()
    np.testing.assert_array_equal(red.instances, blue.instances)


@pytest.mark.parametrize("split", SPLITS)
def test_pixels_show_what_the_record_says(split):
    """Number, class, size and place of every object, read off the masks."""
    for index in range(80):
        drawn = scene(1, split, index, size=SIZE, n_captions=1)
        groups, relation = drawn["spec"]["groups"], drawn["spec"]["relation"]
        expected = [group for group in groups for _ in range(group["number"])]
        instances, mask = drawn["instances"], drawn["mask"]
        # The pixel at a crescent's cusp may stand apart, so a part counts from ten pixels on.
        parts = np.bincount(ndimage.label(mask, np.ones((3, 3)))[0].ravel())[1:]
        assert (parts >= 10).sum() == len(expected) == instances.max()
        assert ((mask > 0) == (instances > 0)).all()
        for number, (group, placed) in enumerate(zip(expected, drawn["placements"], strict=True), 1):
            rows, columns = np.nonzero(instances == number)
            assert set(mask[rows, columns]) == {CLASSES.index(group["category"])}
            across, down = (columns.min(), columns.max() + 1), (rows.min(), rows.max() + 1)
            low, high = DIAMETERS[group["size"]]
            assert low <= placed.diameter <= high
            extent = max(across[1] - across[0], down[1] - down[0])
            assert 0.75 * placed.diameter < extent < 1.2 * placed.diameter
            assert_placed(group["place"], placed, len(expected))
        if relation:
            assert_related(relation, *drawn["placements"])


def assert_placed(place, placed, n_copies):
    """A side is a third of the room an object has, or a third or half of the scene where several lie there."""
    room = SIZE - placed.diameter
    across, down = ((centre - placed.diameter / 2) / room for centre in (placed.x, placed.y))
    share = {"left": across, "right": 1 - across, "top": down, "bottom": 1 - down}
    words = (place or "").split()
    if words == ["centre"]:
        assert 0.35 < across < 0.65
        assert 0.35 < down < 0.65
    for word in set(words) - {"centre"}:
        assert share[word] < (1 / 3 if n_copies == 1 else 0.4)


def assert_related(relation, first, second):
    gap = {
        "left of": second.x - first.x, "right of": first.x - second.x,
        "above": second.y - first.y, "below": first.y - second.y,
    }[relation]  # fmt: skip
    assert gap >= (first.diameter + second.diameter) / 2
