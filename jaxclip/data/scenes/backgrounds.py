"""Backgrounds, each a texture of its own that varies from scene to scene in tint, place and detail.

Texture comes from crops of a few tileable noise fields that are made once per process from a fixed seed.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.floating]

_PERIOD = 512
_WAVELENGTHS = {"fine": (1.2, 1.2), "coarse": (9, 9), "blades": (1, 4), "waves": (9, 1.6), "mounds": (22, 9)}


@cache
def _noise(name: str) -> NDArray[np.float32]:
    """Tileable noise of mean 0 and standard deviation 1; as long across and down as its wavelengths say."""
    across, down = _WAVELENGTHS[name]
    white = np.random.default_rng(list(_WAVELENGTHS).index(name)).standard_normal((_PERIOD, _PERIOD))
    fy, fx = np.fft.fftfreq(_PERIOD)[:, None], np.fft.rfftfreq(_PERIOD)[None]
    blurred = np.fft.irfft2(np.fft.rfft2(white) * np.exp(-20 * ((fx * across) ** 2 + (fy * down) ** 2)), s=white.shape)
    return (blurred / blurred.std()).astype(np.float32)


@cache
def _grid(size: int) -> tuple[Image, Image]:
    """Rows and columns of the canvas in units of a 96-pixel scene, pixel centres."""
    axis = ((np.arange(size) + 0.5) * (96 / size)).astype(np.float32)
    return axis[:, None], axis[None, :]


def _crop(rng: np.random.Generator, name: str, size: int) -> Image:
    y, x = rng.integers(_PERIOD - size + 1, size=2)
    return _noise(name)[y : y + size, x : x + size]


def _tinted(rng: np.random.Generator, rgb: tuple[int, int, int], spread: float = 12.0) -> Image:
    return (np.array(rgb) + rng.normal(0, spread / 2) + rng.normal(0, spread / 2, 3)).astype(np.float32)


def _lit(colour: Image, light: Image) -> Image:
    return colour + light[..., None]


def _grass(rng: np.random.Generator, size: int) -> Image:
    light = 21 * _crop(rng, "blades", size) + 9 * _crop(rng, "coarse", size)
    return _lit(_tinted(rng, (84, 148, 56)), light) * np.array([1.0, 1.0, 0.9], np.float32)


def _water(rng: np.random.Generator, size: int) -> Image:
    y, _ = _grid(size)
    waves = _crop(rng, "waves", size)
    light = 15 * waves + 55 * np.clip(waves - 1.4, 0, 0.8) + (y - 48) * rng.uniform(-0.35, 0.1)
    return _lit(_tinted(rng, (46, 120, 178), 16.0), light)


def _sand(rng: np.random.Generator, size: int) -> Image:
    y, x = _grid(size)
    ripples = np.sin((y + rng.uniform(-0.4, 0.4) * x) * rng.uniform(0.5, 0.8) + 1.3 * _crop(rng, "coarse", size))
    return _lit(_tinted(rng, (220, 194, 140)), 8 * ripples + 7 * _crop(rng, "fine", size))


def _snow(rng: np.random.Generator, size: int) -> Image:
    mounds = _crop(rng, "mounds", size)[..., None] * np.array([9, 7, 4], np.float32)
    return _tinted(rng, (232, 238, 247), 8.0) + mounds + 4 * _crop(rng, "fine", size)[..., None]


def _night(rng: np.random.Generator, size: int) -> Image:
    y, _ = _grid(size)
    sky = _tinted(rng, (12, 15, 42), 8.0) + y[..., None] * np.array([0.15, 0.18, 0.38], np.float32)
    sky = sky + 3 * _crop(rng, "coarse", size)[..., None]
    n_stars = int(rng.integers(30, 60))
    rows, columns = rng.integers(size, size=(2, n_stars))
    sky[rows, columns] += rng.uniform(60, 210, (n_stars, 1)).astype(np.float32)
    return sky


def _brick(rng: np.random.Generator, size: int) -> Image:
    y, x = _grid(size)
    height, width = rng.uniform(8, 11), rng.uniform(19, 25)
    rows = (y + rng.uniform(0, 40)) / height
    columns = (x + rng.uniform(0, 40)) / width + 0.5 * (np.floor(rows) % 2)
    shade = rng.normal(0, 13, (32, 32)).astype(np.float32)[np.floor(rows).astype(int), np.floor(columns).astype(int)]
    mortar = ((rows % 1) * height < 1.6) | ((columns % 1) * width < 1.6)
    wall = _lit(_tinted(rng, (160, 78, 62)), shade + 6 * _crop(rng, "fine", size))
    wall[mortar] = _tinted(rng, (196, 186, 174))
    return wall


def _forest(rng: np.random.Generator, size: int) -> Image:
    _, x = _grid(size)
    leaves = _lit(_tinted(rng, (32, 68, 34), 8.0), 12 * _crop(rng, "coarse", size) + 9 * _crop(rng, "fine", size))
    bark = _lit(_tinted(rng, (84, 62, 44), 8.0), 7 * _crop(rng, "blades", size))
    trunks = rng.uniform(0, 96, int(rng.integers(4, 7)))
    widths = rng.uniform(2.5, 5, trunks.size)
    covered = (np.abs(x[..., None] - trunks) < widths).any(-1)
    hanging = _crop(rng, "coarse", size) < 0.6
    return np.where((covered & hanging)[..., None], bark, leaves)


def _sunset(rng: np.random.Generator, size: int) -> Image:
    y, x = _grid(size)
    horizon = rng.uniform(66, 82)
    height = np.clip(y / horizon, 0, 1)[..., None]
    top, middle, low = (_tinted(rng, rgb) for rgb in ((96, 62, 128), (226, 104, 96), (252, 182, 92)))
    sky = top + (middle - top) * np.clip(2 * height, 0, 1) + (low - middle) * np.clip(2 * height - 1, 0, 1)
    glow = np.exp(-((x - rng.uniform(10, 86)) ** 2 + (y - horizon) ** 2) / 500)
    sky = _lit(sky, 40 * glow + 9 * _crop(rng, "waves", size))
    ground = y + 2 * _crop(rng, "mounds", size) > horizon
    return np.where(ground[..., None], _tinted(rng, (58, 38, 58)), sky)


_PAINTERS: dict[str, Callable[[np.random.Generator, int], Image]] = {
    "grass": _grass, "water": _water, "sand": _sand, "snow": _snow, "night": _night, "brick": _brick,
    "forest": _forest, "sunset": _sunset,
}  # fmt: skip


def paint_background(rng: np.random.Generator, name: str, size: int) -> Image:
    """An empty scene, `[size, size, 3]`, about 0 to 255 and not yet clipped."""
    return np.broadcast_to(_PAINTERS[name](rng, size), (size, size, 3)).astype(np.float32)
