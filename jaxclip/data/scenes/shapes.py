"""Outlines of everything a scene can hold, as signed distances: negative inside, in units of the object's radius.

Coordinates are local to the object: x to the right, y down, the object within about one radius of (0, 0). Distances
are exact at the outline and close to it, which is all that antialiasing and thin outlines need.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.floating]


def _disc(x: Field, y: Field, cx: float, cy: float, radius: float) -> Field:
    return np.hypot(x - cx, y - cy) - radius


def _box(x: Field, y: Field, half_width: float, half_height: float) -> Field:
    return np.maximum(np.abs(x) - half_width, np.abs(y) - half_height)


def _ellipse(x: Field, y: Field, cx: float, cy: float, rx: float, ry: float, angle: float = 0.0) -> Field:
    cos, sin = np.cos(angle), np.sin(angle)
    u, v = (x - cx) * cos + (y - cy) * sin, (y - cy) * cos - (x - cx) * sin
    return (np.hypot(u / rx, v / ry) - 1) * min(rx, ry)


def _capsule(x: Field, y: Field, ax: float, ay: float, bx: float, by: float, radius: float) -> Field:
    dx, dy = bx - ax, by - ay
    along = np.clip(((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy), 0, 1)
    return np.hypot(x - ax - along * dx, y - ay - along * dy) - radius


def _polygon(x: Field, y: Field, *corners: tuple[float, float]) -> Field:
    """Convex, corners clockwise as seen (y down)."""
    distance = np.full_like(x, -np.inf)
    for (ax, ay), (bx, by) in zip(corners, (*corners[1:], corners[0]), strict=True):
        length = np.hypot(bx - ax, by - ay)
        distance = np.maximum(distance, ((by - ay) * (x - ax) - (bx - ax) * (y - ay)) / length)
    return distance


def _circle(x: Field, y: Field) -> Field:
    return _disc(x, y, 0.0, 0.0, 0.95)


def _square(x: Field, y: Field) -> Field:
    return _box(x, y, 0.82, 0.82)


def _triangle(x: Field, y: Field) -> Field:
    return _polygon(x, y, (0.0, -0.98), (1.04, 0.82), (-1.04, 0.82))


def _star(x: Field, y: Field) -> Field:
    # All ten edges are mirror images of one: fold the plane onto a tenth of a turn.
    fifth, outer, inner = 2 * np.pi / 5, 1.08, 0.46
    angle = np.abs((np.arctan2(x, -y) + fifth / 2) % fifth - fifth / 2)
    radius = np.hypot(x, y)
    bx, by = inner * np.cos(fifth / 2), inner * np.sin(fifth / 2)
    normal = np.array([by, outer - bx]) / np.hypot(by, outer - bx)
    return (radius * np.cos(angle) - outer) * normal[0] + radius * np.sin(angle) * normal[1]


def _heart(x: Field, y: Field) -> Field:
    half, y = 0.57, y - 0.09
    tip = _box((x + y) * np.sqrt(0.5), (y - x) * np.sqrt(0.5), half, half)
    offset = half * np.sqrt(0.5)
    return np.minimum(tip, np.minimum(_disc(x, y, -offset, -offset, half), _disc(x, y, offset, -offset, half)))


def _cross(x: Field, y: Field) -> Field:
    return np.minimum(_box(x, y, 0.96, 0.32), _box(x, y, 0.32, 0.96))


def _ring(x: Field, y: Field) -> Field:
    return np.abs(np.hypot(x, y) - 0.7) - 0.27


def _crescent(x: Field, y: Field) -> Field:
    return np.maximum(_disc(x, y, 0.1, 0.0, 1.0), -_disc(x, y, 0.62, 0.0, 0.82))


SHAPE_OUTLINES: dict[str, Callable[[Field, Field], Field]] = {
    "circle": _circle, "square": _square, "triangle": _triangle, "star": _star, "heart": _heart, "cross": _cross,
    "ring": _ring, "crescent": _crescent,
}  # fmt: skip


def _duck(x: Field, y: Field) -> list[tuple[str, Field]]:
    tail = _polygon(x, y, (-1.0, -0.22), (-0.45, 0.1), (-0.6, 0.5))
    body = _ellipse(x, y, -0.1, 0.34, 0.78, 0.42)
    neck = _capsule(x, y, 0.42, 0.25, 0.42, -0.45, 0.17)
    return [
        ("bill", _ellipse(x, y, 0.83, -0.5, 0.25, 0.1)),
        ("body", np.minimum(np.minimum(tail, body), np.minimum(neck, _disc(x, y, 0.46, -0.56, 0.29)))),
        ("wing", _ellipse(x, y, -0.25, 0.28, 0.42, 0.2, 0.15)),
        ("eye", _disc(x, y, 0.54, -0.62, 0.07)),
    ]


def _finch(x: Field, y: Field) -> list[tuple[str, Field]]:
    legs = np.minimum(_capsule(x, y, -0.05, 0.4, -0.08, 0.92, 0.05), _capsule(x, y, 0.2, 0.35, 0.2, 0.92, 0.05))
    tail = _capsule(x, y, -0.4, 0.2, -0.95, 0.62, 0.11)
    body = _ellipse(x, y, 0.0, 0.08, 0.62, 0.42, -0.6)
    return [
        ("leg", legs),
        ("bill", _polygon(x, y, (0.6, -0.62), (0.98, -0.4), (0.62, -0.26))),
        ("body", np.minimum(np.minimum(tail, body), _disc(x, y, 0.4, -0.46, 0.34))),
        ("wing", _ellipse(x, y, -0.12, 0.14, 0.46, 0.2, -0.7)),
        ("eye", _disc(x, y, 0.5, -0.52, 0.07)),
    ]


BIRD_PARTS: dict[str, Callable[[Field, Field], list[tuple[str, Field]]]] = {"duck": _duck, "finch": _finch}
"""Parts in the order they are painted; each bird looks to the right."""
