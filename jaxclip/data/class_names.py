"""Names of classes as a caption would have them, and sentences to put them in, both worded by this project.

Names are keyed by the data's own names, so they find their labels by name and never by order. ImageNet's are WordNet's
(its licence stands beside them), but for the few that two classes would share.
"""

import json
import re
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

WORDNET_NAME = re.compile(r"n\d{8}(?:[-_. ]+(?P<words>.+))?", re.ASCII)
"""A WordNet id, alone or with words behind it."""
NAMES, TEMPLATES, WORDNET = "class_names.json", "prompt_templates.json", "imagenet_wordnet.txt"


def class_words(data: str) -> dict[str, str]:
    """The data's own class name -> the words for it, in the order of its labels.

    Args:
      data: "cifar10", "cifar100", "cifar100_coarse", "waterbirds", "waterbirds_place", "scenes" or "imagenet", whose
        own names are WordNet ids.

    Raises:
      ValueError: no names for it.
    """
    own = dict(_chosen(NAMES, data, "class names"))
    return {name: _by_rule(words) for name, words in imagenet_synsets().items()} | own if data == "imagenet" else own


def imagenet_synsets() -> dict[str, str]:
    """WordNet id -> all words that WordNet has for it, of ImageNet's 1,000 classes, in the order of their labels."""
    return dict(line.split(" ", 1) for line in _text(WORDNET).splitlines())


def imagenet_own() -> dict[str, str]:
    """The few of ImageNet's classes whose first word another class has too: WordNet id -> words of this project's."""
    return dict(_chosen(NAMES, "imagenet", "class names"))


def readable(names: Sequence[str], data: str | None = None) -> tuple[str, ...]:
    """Words for the class names of a source, in its order.

    What has no words of its own becomes readable by rule: a WordNet id has ImageNet's words, or those behind it
    ("n02085620-Chihuahua"); of several names it is the first ("tench, Tinca tinca" is "tench"), underscores are spaces,
    and a running number in front ("001.") is left out.

    Args:
      names: as in `source.label_names`.
      data: whose names they are, as in `class_words`; None for the rule alone.
    """
    known = class_words(data) if data is not None else {}
    return tuple(known.get(name, _by_rule(name)) for name in names)


def templates(kind: str = "general") -> tuple[str, ...]:
    """Sentences with a place for a class: {} takes its words, {a} its words with an article.

    Args:
      kind: "single", "general", "small" (pictures of few pixels), "bird", "place" or "scene".

    Raises:
      ValueError: no such kind.
    """
    return tuple(_chosen(TEMPLATES, kind, "templates"))


def template_kinds() -> tuple[str, ...]:
    """What `templates` has lists of."""
    return tuple(_read(TEMPLATES))


def prompts(words: Sequence[str], sentences: Sequence[str] | str = "general") -> list[list[str]]:
    """For every class all sentences about it: what `jaxclip.zeroshot.class_embeddings` takes.

    Args:
      words: of the classes, as in `class_words(data).values()` or from `readable`.
      sentences: with {} or {a} in them, or a kind of `templates`.

    Raises:
      ValueError: no sentences, or one without a place for the class.
    """
    sentences = templates(sentences) if isinstance(sentences, str) else tuple(sentences)
    if not sentences or any("{}" not in sentence and "{a}" not in sentence for sentence in sentences):
        raise ValueError(f"templates need {{}} or {{a}} where the class is to stand; got {list(sentences)}.")
    return [[_filled(sentence, name) for sentence in sentences] for name in words]


def with_article(words: str) -> str:
    """ "a dog", "an apple"; by the first letter."""
    return f"{'an' if words[:1].lower() in 'aeiou' and words else 'a'} {words}"


def _filled(sentence: str, name: str) -> str:
    # In one go, and not by str.format: a name may hold braces.
    return re.sub(r"\{a?\}", lambda place: name if place[0] == "{}" else with_article(name), sentence)


def _by_rule(name: str) -> str:
    if found := WORDNET_NAME.fullmatch(name):
        return _by_rule(found["words"]) if found["words"] else _imagenet_words().get(name, name)
    number, dot, rest = name.partition(".")
    return (rest if dot and number.isdigit() and rest[:1].isalpha() else name).split(",")[0].replace("_", " ").strip()


@cache
def _imagenet_words() -> dict[str, str]:
    return class_words("imagenet")


def _chosen(file: str, key: str, what: str) -> Any:
    held = _read(file)
    if key not in held:
        raise ValueError(f"there are {what} for {', '.join(held)}; got {key!r}.")
    return held[key]


@cache
def _read(file: str) -> dict:
    return json.loads(_text(file))


def _text(file: str) -> str:
    return resources.files("jaxclip.data").joinpath(file).read_text(encoding="utf-8")
