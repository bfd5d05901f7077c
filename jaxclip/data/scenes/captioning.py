"""English for scenes: varied captions that only say true things, and prompts that ask for one factor at a time."""

from typing import Any

import numpy as np

from jaxclip.data.scenes.spec import (
    BACKGROUNDS,
    BIRDS,
    COLOURS,
    NUMBERS,
    PLACES,
    RELATIONS,
    SHAPES,
    SIZES,
    TEXTURES,
    Group,
    SceneSpec,
)

BACKGROUND_PHRASES = {
    "grass": ("on grass", "on the grass", "on a lawn", "in a meadow"),
    "water": ("on water", "on the water", "on a lake", "at sea"),
    "sand": ("on sand", "on the sand", "in the desert", "on a sandy beach"),
    "snow": ("on snow", "in the snow", "in a snowy field"),
    "night": ("at night", "in the night sky", "under the stars", "in a dark starry sky"),
    "brick": ("on a brick wall", "on bricks", "in front of a brick wall", "against a wall of bricks"),
    "forest": ("in a forest", "in the forest", "in the woods", "among trees"),
    "sunset": ("at sunset", "at dusk", "under a sunset sky", "in an evening sky"),
}
BACKGROUND_NOUNS = {
    "grass": ("grass", "a grass background", "a meadow"),
    "water": ("water", "a water background", "a lake"),
    "sand": ("sand", "a sand background", "a desert"),
    "snow": ("snow", "a snow background", "a snowy field"),
    "night": ("the night sky", "a night background", "a starry night"),
    "brick": ("a brick wall", "a brick background", "bricks"),
    "forest": ("a forest", "a forest background", "the woods"),
    "sunset": ("a sunset", "a sunset background", "an evening sky"),
}
PLACE_PHRASES = {
    "left": ("on the left", "on the left side", "at the left", "on the left of the picture"),
    "right": ("on the right", "on the right side", "at the right", "on the right of the picture"),
    "top": ("at the top", "near the top", "at the top of the picture", "in the upper part"),
    "bottom": ("at the bottom", "near the bottom", "at the bottom of the picture", "in the lower part"),
    "centre": ("in the centre", "in the middle", "at the centre", "in the middle of the picture"),
    "top left": ("in the top left corner", "at the top left", "in the upper left corner"),
    "top right": ("in the top right corner", "at the top right", "in the upper right corner"),
    "bottom left": ("in the bottom left corner", "at the bottom left", "in the lower left corner"),
    "bottom right": ("in the bottom right corner", "at the bottom right", "in the lower right corner"),
}
RELATION_PHRASES = {
    "left of": ("to the left of", "left of"),
    "right of": ("to the right of", "right of"),
    "above": ("above", "over"),
    "below": ("below", "under"),
}
SIZE_WORDS = {
    "small": ("small", "small", "little"),
    "medium": ("medium", "medium sized"),
    "large": ("large", "large", "big"),
}
TEXTURE_WORDS = {
    "plain": ("plain", "plain", "solid"),
    "striped": ("striped",),
    "dotted": ("dotted", "spotted"),
    "checkered": ("checkered",),
}
TEXTURE_TAILS = {"striped": "with stripes", "dotted": "with dots", "checkered": "with a checkered pattern"}
PLURALS = {"cross": "crosses", "finch": "finches", "thing": "things"}
FRAMES = (
    "{}", "{}", "a photo of {}", "a photo of {}", "a picture of {}", "an image of {}", "a drawing of {}", "look, {}",
    "here we see {}", "a scene with {}",
)  # fmt: skip

_OPPOSITE: dict[Any, Any] = dict(zip(RELATIONS, (RELATIONS[1], RELATIONS[0], RELATIONS[3], RELATIONS[2]), strict=True))


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def with_article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def plural(noun: str) -> str:
    return PLURALS.get(noun, noun + "s")


def caption(spec: SceneSpec, rng: np.random.Generator) -> str:
    """One English caption of a scene; it may leave factors out but states no false one.

    Two in three name nearly everything, the rest are short or about a single factor, as prompts are.
    """
    kind = rng.random()
    if kind < 0.10:
        return _about_one_factor(spec, rng)
    named = {name: rng.random() < share for name, share in _shares(spec, short=kind < 0.30).items()}
    subject = _related(spec, rng, named) if spec.relation else _noun_phrase(spec.groups[0], rng, named)
    place = spec.groups[0].place
    return _arrange(rng, subject, place if named["place"] else None, spec.background if named["background"] else None)


def captions(spec: SceneSpec, rng: np.random.Generator, n: int) -> list[str]:
    """`n` captions drawn independently; some may coincide."""
    return [caption(spec, rng) for _ in range(n)]


def _shares(spec: SceneSpec, short: bool) -> dict[str, float]:
    """How often each factor is named. Birds' backgrounds are named less: what is left unsaid is what makes the cue
    spurious, because the bird's word then has to account for the water."""
    shares = {"number": 0.95, "size": 0.85, "texture": 0.8, "colour": 0.92, "category": 0.96, "place": 0.9}
    shares["background"] = 0.4 if spec.kind == "birds" else 0.8
    if short:
        shares = {name: 0.35 * share for name, share in shares.items()} | {"category": 0.85, "number": 0.7}
    return shares


def _noun_phrase(group: Group, rng: np.random.Generator, named: dict[str, bool]) -> str:
    adjectives, tail = [], ""
    if named["texture"] and group.category not in BIRDS:
        if group.texture != "plain" and rng.random() < 0.25:
            tail = f" {TEXTURE_TAILS[group.texture]}"
        else:
            adjectives.append(_pick(rng, TEXTURE_WORDS[group.texture]))
    if named["colour"]:
        adjectives.append(group.colour)
        if len(adjectives) == 2 and rng.random() < 0.3:
            adjectives.reverse()
    if named["size"]:
        adjectives.insert(0, _pick(rng, SIZE_WORDS[group.size]))
    noun = group.category
    if not named["category"]:
        noun = _pick(rng, ("bird", "animal")) if noun in BIRDS else _pick(rng, ("object", "shape", "thing"))
    return _counted(group.number, " ".join([*adjectives, ""]), noun, rng, named["number"]) + tail


def _counted(number: int, adjectives: str, noun: str, rng: np.random.Generator, exact: bool) -> str:
    if number == 1:
        if exact and rng.random() < 0.35:
            return f"{_pick(rng, ('one', 'one', 'a single'))} {adjectives}{noun}"
        return with_article(adjectives + noun)
    return f"{NUMBERS[number - 1] if exact else 'several'} {adjectives}{plural(noun)}"


def _related(spec: SceneSpec, rng: np.random.Generator, named: dict[str, bool]) -> str:
    first, second = (_noun_phrase(group, rng, named | {"number": False}) for group in spec.groups)
    if not named["place"]:
        return f"{first} and {second}" if rng.random() < 0.5 else f"{second} and {first}"
    if spec.relation is None:
        raise ValueError("a pair of groups has a relation; this one has none.")
    if rng.random() < 0.5:
        return f"{first} {_pick(rng, RELATION_PHRASES[spec.relation])} {second}"
    return f"{second} {_pick(rng, RELATION_PHRASES[_OPPOSITE[spec.relation]])} {first}"


def _arrange(rng: np.random.Generator, subject: str, place: str | None, background: str | None) -> str:
    where = _pick(rng, PLACE_PHRASES[place]) if place else ""
    scenery = _pick(rng, BACKGROUND_PHRASES[background]) if background else ""
    order = rng.random()
    if place and order < 0.15:
        return ", ".join(part for part in (f"{where} {subject}", scenery) if part)
    if background and order < 0.25:
        return f"{scenery}, {subject} {where}".strip()
    if background and order < 0.40:
        return f"{_pick(rng, BACKGROUND_NOUNS[background])} with {subject} {where}".strip()
    parts = [_pick(rng, FRAMES).format(subject), *((where, scenery) if rng.random() < 0.6 else (scenery, where))]
    return " ".join(part for part in parts if part)


def _about_one_factor(spec: SceneSpec, rng: np.random.Generator) -> str:
    group = spec.groups[int(rng.integers(len(spec.groups)))]
    bird = group.category in BIRDS
    thing = "bird" if bird else _pick(rng, ("object", "shape", "thing"))
    total = sum(g.number for g in spec.groups)
    options = [
        _pick(rng, BACKGROUND_NOUNS[spec.background]),
        f"something {_pick(rng, BACKGROUND_PHRASES[spec.background])}",
        f"something {group.colour}",
        f"{with_article(group.colour)} {thing}",
        f"{with_article(SIZE_WORDS[group.size][0])} {thing}",
        f"{NUMBERS[total - 1]} {plural(thing) if total > 1 else thing}",
        f"{NUMBERS[total - 1]} {plural('object') if total > 1 else 'object'}",
        with_article(group.category),
    ]
    if not bird:
        options.append(f"{with_article(_pick(rng, TEXTURE_WORDS[group.texture]))} {thing}")
    if group.place:
        phrase = _pick(rng, PLACE_PHRASES[group.place])
        options += [f"something {phrase}", f"{with_article(thing) if group.number == 1 else plural(thing)} {phrase}"]
    text = _pick(rng, tuple(options))
    return _pick(rng, ("{}", "a photo of {}", "a picture of {}")).format(text)


PROMPTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "background": (
        ("{}", "a photo of something {}", "an object {}", "a picture of a shape {}"),
        tuple(BACKGROUND_PHRASES[name][0] for name in BACKGROUNDS),
    ),
    "shape": (("a {}", "a photo of a {}", "a picture of a {}", "one {}"), SHAPES),
    "bird": (("a {}", "a photo of a {}", "a picture of a {}", "one {}"), BIRDS),
    "colour": (("something {}", "a photo of a {} object", "a picture of a {} thing", "one {} shape"), COLOURS),
    "texture": (
        ("a {} object", "a photo of a {} shape", "a picture of a {} thing", "one {} object"),
        TEXTURES,
    ),
    "size": (("a {} object", "a photo of a {} object", "a picture of a {} thing", "one {} shape"), SIZES),
    "number": (
        ("{}", "a photo of {}", "a picture of {}"),
        tuple(f"{word} object{'s' if i else ''}" for i, word in enumerate(NUMBERS)),
    ),
    "place": (
        ("something {}", "a photo of an object {}", "a picture of a shape {}", "a thing {}"),
        tuple(PLACE_PHRASES[name][0] for name in PLACES),
    ),
}
"""Zero-shot prompts: factor -> (templates, one phrase per value in the order of its vocabulary)."""


def prompts(factor: str) -> list[list[str]]:
    """Every template filled with every value of `factor`: one list of prompts per value."""
    if factor not in PROMPTS:
        raise ValueError(f"factor must be one of {', '.join(PROMPTS)}; got {factor!r}.")
    templates, values = PROMPTS[factor]
    return [[template.format(value) for template in templates] for value in values]


def one_factor_texts() -> dict[str, tuple[str, ...]]:
    """Factor -> everything that captions say of it alone, none twice: a pool for TextSpan."""
    thing, things = ("object", "shape", "thing"), ("{}", "a photo of {}")
    found: dict[str, list[str]] = {factor: [text for some in prompts(factor) for text in some] for factor in PROMPTS}
    for nouns, phrases in zip(BACKGROUND_NOUNS.values(), BACKGROUND_PHRASES.values(), strict=True):
        found["background"] += [frame.format(noun) for noun in nouns for frame in things]
        found["background"] += [f"something {phrase}" for phrase in phrases]
    for words in SIZE_WORDS.values():
        found["size"] += [with_article(f"{word} {noun}") for word in words for noun in thing]
    for words in TEXTURE_WORDS.values():
        found["texture"] += [with_article(f"{word} {noun}") for word in words for noun in thing]
    found["colour"] += [with_article(f"{colour} {noun}") for colour in COLOURS for noun in (*thing, "bird")]
    found["place"] += [f"something {phrase}" for phrases in PLACE_PHRASES.values() for phrase in phrases]
    found["number"] += [
        f"{word} {plural(noun) if i else noun}" for i, word in enumerate(NUMBERS) for noun in (*thing[1:], "bird")
    ]
    found["relation"] = [
        f"{with_article(noun)} {phrase} {with_article(noun)}"
        for phrases in RELATION_PHRASES.values()
        for phrase in phrases
        for noun in thing
    ]
    return {factor: tuple(dict.fromkeys(texts)) for factor, texts in found.items()}
