"""Class names go by name, and sentences are filled with them."""

import re

import pytest

from jaxclip.data.class_names import class_words, imagenet_synsets, prompts, readable, templates, with_article
from jaxclip.data.scenes import CLASSES

SETS = ("cifar10", "cifar100", "cifar100_coarse", "waterbirds", "waterbirds_place", "scenes")


def test_every_class_has_words_of_its_own():
    sizes = dict(zip(SETS, (10, 100, 20, 2, 2, len(CLASSES) - 1), strict=True))
    for data, size in sizes.items():
        words = class_words(data)
        assert len(words) == len(set(words.values())) == size
        assert all(word == word.strip() and "_" not in word and word for word in words.values())
    assert tuple(class_words("scenes")) == CLASSES[1:]
    # Both CIFARs number their classes in alphabetical order.
    for data in SETS[:3]:
        assert list(class_words(data)) == sorted(class_words(data))


def test_imagenet_has_a_thousand_words_by_wordnet_id():
    """Facts that anyone knows of ImageNet's labels: a few places, a few words, ids in order, no two classes alike."""
    words = class_words("imagenet")
    assert list(words) == list(imagenet_synsets()) == sorted(words)
    assert len(words) == len(set(words.values())) == 1000
    assert all(re.fullmatch(r"n\d{8}", name) for name in words)
    assert all(word == word.strip() and "," not in word and "_" not in word for word in words.values())
    places = dict(enumerate(words.values()))
    assert (places[0], places[1], places[207], places[291], places[999]) == (
        "tench", "goldfish", "golden retriever", "lion", "toilet tissue",
    )  # fmt: skip
    assert imagenet_synsets()["n02099601"] == "golden retriever"
    # What names are read back from: the reader's names go through the same rule again.
    assert readable(list(words.values())) == tuple(words.values())


def test_words_follow_the_sources_order_not_ours():
    assert readable(["truck", "automobile"], "cifar10") == ("truck", "car")
    assert readable(["001.Black_footed_Albatross", "tench, Tinca tinca", "3.5"]) == (
        "Black footed Albatross", "tench", "3.5",
    )  # fmt: skip
    assert readable(["waterbird", "someone_else"], "waterbirds")[1] == "someone else"


def test_sentences():
    assert prompts(["apple", "{a} dog"], ("a photo of {a}.", "one {}")) == [
        ["a photo of an apple.", "one apple"], ["a photo of a {a} dog.", "one {a} dog"],
    ]  # fmt: skip
    assert (with_article("owl"), with_article("duck")) == ("an owl", "a duck")
    for kind in ("single", "general", "small", "bird", "place", "scene"):
        sentences = templates(kind)
        assert len(set(sentences)) == len(sentences) >= 1
        assert all("crane" in one for one in prompts(["crane"], kind)[0])


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="class names for cifar10"):
        class_words("mnist")
    with pytest.raises(ValueError, match="templates for single"):
        templates("loud")
    with pytest.raises(ValueError, match="where the class is to stand"):
        prompts(["dog"], ("a photo",))
