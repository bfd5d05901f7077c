"""From a scene's record to its picture and its exact masks."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray

from jaxclip.data.scenes.backgrounds import paint_background
from jaxclip.data.scenes.shapes import BIRD_PARTS, SHAPE_OUTLINES, Field
from jaxclip.data.scenes.spec import CLASSES, DIAMETERS, Group, SceneSpec

RGB = {
    "red": (214, 34, 38), "orange": (246, 134, 20), "yellow": (250, 222, 44), "green": (38, 158, 58),
    "blue": (34, 84, 216), "purple": (132, 50, 174), "pink": (250, 142, 190), "brown": (118, 70, 34),
    "black": (24, 24, 26), "white": (248, 248, 246),
}  # fmt: skip
# The other colour of a pattern: white, except where white would hide the pattern or change the colour's name.
SECOND_RGB = {"white": (160, 164, 172), "black": (112, 112, 116), "yellow": (176, 130, 10), "pink": (255, 236, 244)}
OUTLINE_RGB = {"black": (150, 150, 154), "white": (120, 124, 132)}
PART_RGB = {"bill": (244, 160, 40), "leg": (120, 72, 40), "eye": (10, 10, 10)}

_SPANS = {"low": (0.0, 0.16), "middle": (0.42, 0.58), "high": (0.84, 1.0)}
_MARGIN = 1.0


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where one copy was drawn, in pixels of the canvas; `instance` is its value in `Scene.instances`."""

    category: str
    instance: int
    x: float
    y: float
    diameter: float
    angle: float


@dataclass(frozen=True, kw_only=True)
class Scene:
    """`mask` holds an index into `CLASSES` per pixel, `instances` 0 or the number of the copy (from 1): the pixels of
    which an object covers at least half."""

    image: UInt8[np.ndarray, "height width 3"]
    mask: UInt8[np.ndarray, "height width"]
    instances: UInt8[np.ndarray, "height width"]
    placements: tuple[Placement, ...]


def render(spec: SceneSpec, rng: np.random.Generator, size: int = 96) -> Scene:
    """Draw a scene; what `spec` leaves open (exact places, tints, rotation) comes from `rng`.

    Args:
      spec: the factors.
      rng: consumed; the same state gives the same scene.
      size: height and width in pixels; lengths scale with it.
    """
    if size < 32:
        raise ValueError(f"scenes need at least 32 pixels to show their objects; got size {size}.")
    canvas = paint_background(rng, spec.background, size)
    mask, instances = np.zeros((2, size, size), np.uint8)
    placements = _placements(spec, rng, size)
    groups = [group for group in spec.groups for _ in range(group.number)]
    textures = {id(group): rng.uniform(0, 2 * np.pi) for group in spec.groups}
    for group, placement in zip(groups, placements, strict=True):
        window, covered = _draw(canvas, rng, group, placement, textures[id(group)])
        mask[window][covered] = CLASSES.index(group.category)
        instances[window][covered] = placement.instance
    image = np.clip(canvas + 0.5, 0, 255).astype(np.uint8)
    return Scene(image=image, mask=mask, instances=instances, placements=placements)


def _placements(spec: SceneSpec, rng: np.random.Generator, size: int) -> tuple[Placement, ...]:
    groups = [group for group in spec.groups for _ in range(group.number)]
    lows, highs = zip(*(DIAMETERS[group.size] for group in groups), strict=True)
    # Copies of one group share their size up to a few per cent, so that a scene's size word is true of each.
    diameters = rng.uniform(lows[0], highs[0]) * rng.uniform(0.97, 1.03, len(groups))
    diameters = np.clip(diameters, lows[0], highs[0]) if len(spec.groups) == 1 else rng.uniform(lows, highs)
    if spec.relation:
        centres = _related(rng, spec.relation, diameters)
    elif len(groups) == 1:
        centres = _single(rng, spec.groups[0].place, diameters[0])
    else:
        centres = _scattered(rng, spec.groups[0].place, diameters)
    scale = size / 96
    return tuple(
        Placement(
            category=group.category,
            instance=i + 1,
            x=float(x * scale),
            y=float(y * scale),
            diameter=float(diameter * scale),
            angle=float(rng.uniform(-0.25, 0.25)),
        )
        for i, (group, (x, y), diameter) in enumerate(zip(groups, centres, diameters, strict=True))
    )


def _within(rng: np.random.Generator, span: str, diameter: float) -> float:
    """A coordinate in a third of the room that an object has; the gaps between thirds keep the words unambiguous."""
    low, high = diameter / 2 + _MARGIN, 96 - diameter / 2 - _MARGIN
    return low + (high - low) * rng.uniform(*_SPANS[span])


def _single(rng: np.random.Generator, place: str | None, diameter: float) -> list[tuple[float, float]]:
    words = (place or "centre").split()
    across = "low" if "left" in words else "high" if "right" in words else "middle"
    down = "low" if "top" in words else "high" if "bottom" in words else "middle"
    return [(_within(rng, across, diameter), _within(rng, down, diameter))]


def _scattered(
    rng: np.random.Generator, place: str | None, diameters: NDArray[np.float64]
) -> list[tuple[float, float]]:
    """One copy per cell of a grid that is coarse enough to hold it, so that copies never touch."""
    n_cells = 3 if diameters.max() <= 96 / 3 - 2 else 2
    rows, columns = np.divmod(np.arange(n_cells**2), n_cells)
    allowed = {"left": columns == 0, "right": columns == n_cells - 1, "top": rows == 0, "bottom": rows == n_cells - 1}
    cells = np.flatnonzero(rows >= 0 if place is None else allowed.get(place, rows >= 0))
    cells = rng.permutation(cells)[: diameters.size]
    slack = 96 / n_cells - diameters - 2
    jitter = rng.uniform(-0.5, 0.5, (2, diameters.size)) * slack
    return list(
        zip(
            (columns[cells] + 0.5) * 96 / n_cells + jitter[0],
            (rows[cells] + 0.5) * 96 / n_cells + jitter[1],
            strict=True,
        )
    )


def _related(rng: np.random.Generator, relation: str, diameters: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Two objects in opposite halves along the relation's axis and close to level across it."""
    first, second = (0, 1) if relation in ("left of", "above") else (1, 0)
    along, across = np.zeros(2), np.zeros(2)
    for which, centre in ((first, 24.0), (second, 72.0)):
        along[which] = centre + rng.uniform(-0.5, 0.5) * (48 - diameters[which] - 2)
    level = rng.uniform(0.1, 0.9)
    for which in (0, 1):
        room = 96 - diameters[which] - 2 * _MARGIN
        across[which] = diameters[which] / 2 + _MARGIN + room * np.clip(level + rng.uniform(-0.1, 0.1), 0, 1)
    pairs = (along, across) if relation in ("left of", "right of") else (across, along)
    return list(zip(*pairs, strict=True))


@cache
def _pixel_grid(size: int) -> tuple[Field, Field]:
    axis = (np.arange(size) + 0.5).astype(np.float32)
    x, y = np.broadcast_arrays(axis[None, :], axis[:, None])
    return x, y


def _draw(
    canvas: NDArray[np.float32], rng: np.random.Generator, group: Group, placement: Placement, texture_angle: float
) -> tuple[tuple[slice, slice], NDArray[np.bool_]]:
    radius, size = placement.diameter / 2, canvas.shape[0]
    reach = 1.2 * radius + 2
    down, across = (
        slice(max(int(centre - reach), 0), min(int(centre + reach) + 1, size)) for centre in (placement.y, placement.x)
    )
    window = down, across
    x, y = (axis[window] - centre for axis, centre in zip(_pixel_grid(size), (placement.x, placement.y), strict=True))
    bird = group.category in BIRD_PARTS
    flip = bird and rng.random() < 0.5
    cos, sin = np.float32(np.cos(placement.angle)), np.float32(np.sin(placement.angle))
    u, v = (x * cos + y * sin) / radius, (y * cos - x * sin) / radius
    base = np.array(RGB[group.colour], np.float32) + rng.normal(0, 5, 3).astype(np.float32)
    parts = (
        BIRD_PARTS[group.category](-u if flip else u, v) if bird else [("body", SHAPE_OUTLINES[group.category](u, v))]
    )
    outline = parts[0][1] if len(parts) == 1 else np.minimum.reduce([part for _, part in parts])
    outline = outline * radius
    paint = _pattern(group, x, y, base, placement.diameter, texture_angle)
    if bird:
        paint = _bird_paint(parts, base, radius)
    edge = np.array(OUTLINE_RGB.get(group.colour, base * 0.45), np.float32)
    rim = np.clip(outline + 1.6, 0, 1)[..., None] * (0.85 if not bird else 0.6)
    paint = paint + (edge - paint) * rim
    coverage = np.clip(0.5 - outline, 0, 1)[..., None]
    canvas[window] += (paint - canvas[window]) * coverage
    return window, np.asarray(outline <= 0)


def _pattern(group: Group, x: Field, y: Field, base: Field, diameter: float, angle: float) -> Field:
    if group.texture == "plain":
        return np.broadcast_to(base, (*x.shape, 3))
    period = np.clip(diameter / 5, 5.5, 10.5)
    cos, sin = np.cos(angle), np.sin(angle)
    waves = [np.sin((2 * np.pi / period) * along) for along in (x * cos + y * sin, y * cos - x * sin)]
    sharp = period / 4  # the slope that antialiases an edge over about one pixel
    match group.texture:
        case "striped":
            share = 0.5 + sharp * (waves[0] - 0.15)
        case "checkered":
            share = 0.5 + sharp * 1.3 * waves[0] * waves[1]
        case _:
            share = 0.5 + sharp * (waves[0] + waves[1] - 0.75)
    second = np.array(SECOND_RGB.get(group.colour, (246, 244, 240)), np.float32)
    return base + np.clip(share, 0, 1).astype(np.float32)[..., None] * (second - base)


def _bird_paint(parts: list[tuple[str, Field]], base: Field, radius: float) -> Field:
    # A dark bird's wing is lighter, so that it shows.
    wing = base * 0.68 if base.mean() > 70 else base * 0.7 + 60
    colours = {"body": base, "wing": wing, **PART_RGB}
    paint = np.zeros((*parts[0][1].shape, 3), np.float32) + np.array(PART_RGB["bill"], np.float32)
    for name, distance in parts:
        coverage = np.clip(0.5 - distance * radius, 0, 1)[..., None]
        paint = paint + (np.asarray(colours[name], np.float32) - paint) * coverage
    return paint
