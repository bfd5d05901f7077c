"""Captions say nothing false: read back word by word with a lexicon of this file's own, against the scene's record."""

import re
from dataclasses import replace
from functools import cache

import pytest

from jaxclip.data.scenes import FACTORS, PROMPTS, caption, prompts, sample_spec, scene_rng
from jaxclip.data.scenes.spec import BIRDS, SHAPES

WORDS = {
    "background": {
        "grass": "grass lawn meadow", "water": "water lake sea", "sand": "sand sandy desert beach",
        "snow": "snow snowy",
        "night": "night stars starry dark", "brick": "brick bricks", "forest": "forest woods trees",
        "sunset": "sunset dusk evening",
    },
    "colour": {colour: colour for colour in FACTORS["colour"]},
    "size": {"small": "small little", "medium": "medium", "large": "large big"},
    "texture": {
        "plain": "plain solid", "striped": "striped stripes", "dotted": "dotted spotted dots", "checkered": "checkered",
    },
    "number": {"1": "one single", "2": "two", "3": "three", "4": "four", "5": "five"},
    "across": {"left": "left", "right": "right"},
    "down": {"top": "top upper", "bottom": "bottom lower"},
    "middle": {"centre": "centre middle"},
    "category": {noun: noun for noun in (*SHAPES, *BIRDS)},
    "kind": {"bird": "bird animal", "any": "object thing shape"},
}  # fmt: skip
FACT_OF = {
    word: (fact, value) for fact, values in WORDS.items() for value, said in values.items() for word in said.split()
}
PLURALS = {f"{noun}s": noun for noun in ("object", "thing", "shape", "bird", "animal", *SHAPES, *BIRDS)}
PLURALS |= {"crosses": "cross", "finches": "finch"}
SILENT = {
    "a", "an", "the", "of", "on", "in", "at", "to", "near", "among", "against", "under", "front", "with", "something",
    "look", "here", "we", "see", "scene", "photo", "picture", "image", "drawing", "part", "side", "corner", "sky",
    "field", "background", "wall", "sized", "pattern", "several",
}  # fmt: skip
NIGHT_SKY = "under the stars"
RELATION = re.compile(r" (?:to the )?(left of|right of|above|over|below|under) (?=an? (?!sunset|dark))")
RELATION_OF = {"over": "above", "under": "below"}
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}


def facts(text):
    """What a phrase claims: fact -> value; each word is either known or the reading fails."""
    claimed = {}
    for word in re.findall(r"[a-z]+", text.replace(NIGHT_SKY, "night")):
        if word in PLURALS:
            word, claimed["several"] = PLURALS[word], True
        if word == "several":
            claimed["several"] = True
        if word in FACT_OF:
            fact, value = FACT_OF[word]
            assert claimed.setdefault(fact, value) == value, f"{text!r} contradicts itself"
        else:
            assert word in SILENT, f"{word!r} in {text!r} is not in the lexicon"
    place = " ".join(claimed.pop(name) for name in ("down", "across", "middle") if name in claimed)
    return claimed | ({"place": place} if place else {})


def is_true_of(claimed, group, background, number):
    """Whether every claim holds for one group of objects in front of a background."""
    bird = group.category in BIRDS
    shown = {
        "background": background, "category": group.category, "colour": group.colour, "size": group.size,
        "texture": group.texture, "place": group.place, "number": str(number), "several": number > 1,
        "kind": "bird" if bird and claimed.get("kind") == "bird" else "any",
    }  # fmt: skip
    return all(shown[fact] == value for fact, value in claimed.items())


def holds(text, spec):
    """Whether a caption is true of a scene."""
    parts = RELATION.split(text)
    if len(parts) == 3:
        relation = RELATION_OF.get(parts[1], parts[1])
        order = {relation: spec.groups, OPPOSITE[relation]: spec.groups[::-1]}.get(spec.relation)
        return order is not None and both(parts[0], parts[2], order, spec.background)
    if len(spec.groups) == 2 and " and " in text:
        said = text.split(" and ")
        return any(both(*said, order, spec.background) for order in (spec.groups, spec.groups[::-1]))
    total = sum(group.number for group in spec.groups)
    return any(is_true_of(facts(text), group, spec.background, total) for group in spec.groups)


def both(first, second, groups, background):
    return all(
        is_true_of(facts(text), group, background, 1) for text, group in zip((first, second), groups, strict=True)
    )


@cache
def samples():
    """Scenes of the biased and of a balanced split, each with three captions."""
    found = []
    for split in ("train", "test"):
        for index in range(150):
            rng = scene_rng(7, split, index)
            spec = sample_spec(rng, split, index)
            found += [(spec, caption(spec, rng)) for _ in range(3)]
    return found


def test_captions_are_true():
    wrong = [(text, spec) for spec, text in samples() if not holds(text, spec)]
    assert not wrong


def test_a_caption_is_false_of_a_scene_that_differs_in_what_it_names():
    """The reading above can tell: where a caption names a factor, another value of it makes the caption false."""
    others = {
        "colour": FACTORS["colour"],
        "size": FACTORS["size"],
        "texture": FACTORS["texture"],
        "place": FACTORS["place"],
    }
    n_refused = dict.fromkeys([*others, "category", "background"], 0)
    for spec, text in samples():
        if len(spec.groups) == 2:
            continue
        (group,), said = spec.groups, facts(text)
        for fact in n_refused.keys() & said.keys():
            if fact == "background":
                wrong = replace(spec, background=next(x for x in FACTORS["background"] if x != spec.background))
            else:
                values = others.get(fact, SHAPES if group.category in SHAPES else BIRDS)
                value = next(x for x in values if x != getattr(group, fact))
                wrong = replace(spec, groups=(replace(group, **{fact: value}),))
            assert not holds(text, wrong)
            n_refused[fact] += 1
    assert min(n_refused.values()) > 20


@pytest.mark.parametrize("relation", OPPOSITE)
def test_a_relation_the_other_way_round_is_false(relation):
    found = [(s, text) for s, text in samples() if s.relation == relation and RELATION.search(text)]
    assert len(found) > 5
    assert all(not holds(text, replace(spec, relation=OPPOSITE[relation])) for spec, text in found)


def test_captions_name_every_factor_often():
    """Shape, place and number come late in training, so at least half of the captions that could name them do."""
    said = [(spec, facts(text)) for spec, text in samples() if len(spec.groups) == 1]
    for fact, applies in {
        "category": lambda spec: True, "colour": lambda spec: True, "size": lambda spec: True,
        "number": lambda spec: spec.groups[0].number > 1, "place": lambda spec: spec.groups[0].place,
        "texture": lambda spec: spec.kind == "shapes", "background": lambda spec: spec.kind == "shapes",
    }.items():  # fmt: skip
        named = [fact in claimed for spec, claimed in said if applies(spec)]
        assert sum(named) / len(named) > 0.5, fact


@pytest.mark.parametrize("factor", PROMPTS)
def test_prompts_name_each_value_of_their_factor_and_nothing_else(factor):
    fact = {"shape": "category", "bird": "category"}.get(factor, factor)
    filled = prompts(factor)
    assert len(filled) == len(FACTORS[factor])
    for index, (value, texts) in enumerate(zip(FACTORS[factor], filled, strict=True)):
        assert len(set(texts)) == len(texts)
        for text in texts:
            # "One" is said of single objects by templates of other factors, and means no more than "a" there.
            silent = {"kind", "several"} if factor == "number" else {"kind", "several", "number"}
            said = {name: word for name, word in facts(text).items() if name not in silent}
            assert said == {fact: str(index + 1) if factor == "number" else value}


def test_every_factor_a_scene_has_can_be_asked_for():
    assert PROMPTS.keys() == FACTORS.keys() - {"relation", "group"}
    with pytest.raises(ValueError, match=r"factor must be one of background, shape, .* got 'shade'"):
        prompts("shade")
