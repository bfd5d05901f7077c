"""What a scene is: the vocabulary of every factor, the record of one scene, and how scenes are drawn from a seed.

Kinds of scene and bird groups follow the index, not chance, so any whole number of cycles is balanced exactly. In
`train` the bird's kind and its background agree in 19 of 20 bird scenes (a spurious cue); in `validation` and `test`
the four combinations are equally frequent.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

Split = Literal["train", "validation", "test"]
Kind = Literal["shapes", "pair", "birds"]

SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "ring", "crescent")
BIRDS = ("duck", "finch")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")
SIZES = ("small", "medium", "large")
TEXTURES = ("plain", "striped", "dotted", "checkered")
NUMBERS = ("one", "two", "three", "four", "five")
PLACES = (
    "left", "right", "top", "bottom", "centre", "top left", "top right", "bottom left", "bottom right",
)  # fmt: skip
BACKGROUNDS = ("grass", "water", "sand", "snow", "night", "brick", "forest", "sunset")
RELATIONS = ("left of", "right of", "above", "below")

CLASSES = ("background", *SHAPES, *BIRDS)
"""Index = value in a scene's mask."""

LAND = ("grass", "forest", "sand")
BIRD_HOME = {"duck": ("water",), "finch": LAND}
GROUPS = (("duck", "water"), ("duck", "land"), ("finch", "water"), ("finch", "land"))

DIAMETERS = {"small": (22.0, 27.0), "medium": (35.0, 42.0), "large": (54.0, 64.0)}
"""Pixels of a 96-pixel scene. Patches are about 8 pixels wide, so even a small object covers several."""

KIND_CYCLE: tuple[Kind, ...] = (
    "birds", "shapes", "shapes", "pair", "birds", "shapes", "shapes", "shapes", "birds", "shapes",
    "shapes", "pair", "birds", "shapes", "shapes", "shapes", "birds", "shapes", "shapes", "pair",
)  # fmt: skip
AGREE_OF = 20
"""In `train`, one bird scene in this many has the other bird's background."""

_SIZES_FOR_NUMBER = {1: SIZES, 2: SIZES[:2], 3: SIZES[:2], 4: SIZES[:2], 5: SIZES[:1]}
_SIDES = PLACES[:4]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Copies of one object. `place` is None where copies are scattered or a relation says where they are."""

    category: str
    colour: str
    texture: str
    size: str
    number: int
    place: str | None


@dataclass(frozen=True, kw_only=True)
class SceneSpec:
    """Every factor of one scene. `relation` is said of the first group: groups[0] is `relation` groups[1]."""

    kind: Kind
    background: str
    groups: tuple[Group, ...]
    relation: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def labels(self) -> dict[str, int]:
        """One index per factor into its vocabulary, -1 where the factor does not apply (a pair has no one shape)."""
        group = self.groups[0] if len(self.groups) == 1 else None
        category, bird = (group.category if group else None), self.kind == "birds"
        return {
            "background": BACKGROUNDS.index(self.background),
            "shape": SHAPES.index(category) if group and not bird else -1,
            "bird": BIRDS.index(category) if bird else -1,
            "colour": COLOURS.index(group.colour) if group else -1,
            "texture": TEXTURES.index(group.texture) if group and not bird else -1,
            "size": SIZES.index(group.size) if group else -1,
            "number": group.number - 1 if group else -1,
            "place": PLACES.index(group.place) if group and group.place else -1,
            "relation": RELATIONS.index(self.relation) if self.relation else -1,
            "group": GROUPS.index((category, self.surface)) if bird else -1,
        }

    @property
    def surface(self) -> str:
        return "water" if self.background == "water" else "land"


def scene_rng(seed: int, split: Split, index: int) -> np.random.Generator:
    """The generator all of one scene comes from, the same in every process and order."""
    if split not in get_args(Split):
        raise ValueError(f"split must be one of {', '.join(get_args(Split))}; got {split!r}.")
    if seed < 0 or index < 0:
        raise ValueError(f"seed and index must not be negative; got seed {seed} and index {index}.")
    return np.random.default_rng([seed, get_args(Split).index(split), index])


def sample_spec(rng: np.random.Generator, split: Split, index: int) -> SceneSpec:
    """Draw the factors of scene `index`; its kind and bird group depend on `split` and `index` alone."""
    kind = KIND_CYCLE[index % len(KIND_CYCLE)]
    if kind == "birds":
        return _birds(rng, split, _rank_within_kind(index, kind))
    if kind == "pair":
        return _pair(rng)
    return _shapes(rng)


def _rank_within_kind(index: int, kind: Kind) -> int:
    cycles, rest = divmod(index, len(KIND_CYCLE))
    return cycles * KIND_CYCLE.count(kind) + KIND_CYCLE[:rest].count(kind)


def _choice(rng: np.random.Generator, options: tuple) -> Any:
    return options[int(rng.integers(len(options)))]


def _number(rng: np.random.Generator, share_of_one: float, most: int) -> int:
    return 1 if rng.random() < share_of_one else int(rng.integers(2, most + 1))


def _place(rng: np.random.Generator, number: int, size: str) -> str | None:
    # A large object has no room for a corner that differs clearly from a side; a few small copies fit one side.
    if number == 1:
        return _choice(rng, PLACES[:5] if size == "large" else PLACES)
    return _choice(rng, _SIDES) if number <= 3 and size == "small" and rng.random() < 0.6 else None


def _shapes(rng: np.random.Generator) -> SceneSpec:
    number = _number(rng, 0.45, 5)
    size = _choice(rng, _SIZES_FOR_NUMBER[number])
    group = Group(
        category=_choice(rng, SHAPES), colour=_choice(rng, COLOURS), texture=_choice(rng, TEXTURES), size=size,
        number=number, place=_place(rng, number, size),
    )  # fmt: skip
    return SceneSpec(kind="shapes", background=_choice(rng, BACKGROUNDS), groups=(group,))


def _pair(rng: np.random.Generator) -> SceneSpec:
    categories, colours = rng.permutation(len(SHAPES))[:2], rng.permutation(len(COLOURS))[:2]
    groups = tuple(
        Group(
            category=SHAPES[category],
            colour=COLOURS[colour],
            texture=_choice(rng, TEXTURES),
            size=_choice(rng, SIZES[:2]),
            number=1,
            place=None,
        )
        for category, colour in zip(categories, colours, strict=True)
    )
    return SceneSpec(kind="pair", background=_choice(rng, BACKGROUNDS), groups=groups, relation=_choice(rng, RELATIONS))


def _birds(rng: np.random.Generator, split: Split, rank: int) -> SceneSpec:
    if split == "train":
        bird = BIRDS[rank % 2]
        surface = "water" if (bird == "duck") != (rank // 2 % AGREE_OF == 0) else "land"
    else:
        bird, surface = GROUPS[rank % len(GROUPS)]
    number = _number(rng, 0.75, 3)
    size = _choice(rng, SIZES[1:] if number == 1 else SIZES[1:2])
    group = Group(
        category=bird, colour=_choice(rng, COLOURS), texture="plain", size=size, number=number,
        place=_place(rng, number, size),
    )  # fmt: skip
    return SceneSpec(kind="birds", background="water" if surface == "water" else _choice(rng, LAND), groups=(group,))
