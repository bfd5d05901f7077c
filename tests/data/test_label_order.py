"""Labels meet the classes that are meant, however both are written, and what smells is said."""

import json

import numpy as np
import pytest

from jaxclip.analyses.smells import prediction_smells, size_smell
from jaxclip.data.class_files import match_classes
from jaxclip.data.class_names import readable
from jaxclip.data.label_order import in_order, whole_numbers
from jaxclip.data.open_data import open_data
from jaxclip.data.source import Labels


@pytest.mark.parametrize(
    "names",
    [
        [str(n) for n in range(1, 12)],
        [f"{n:04d}" for n in range(12)],
        [f"class_{n}" for n in range(1, 12)],
        [f"c{n}" for n in (1, 2, 10, 11)],
        ["1.0", "2.0", "10.0"],
        ["0.5", "2.5", "10.5"],
        ["-2", "-1", "0", "10"],
        ["1_cat", "2_dog", "10_hen"],
        ["1. cat", "2. dog", "10. hen"],
        ["n01440764-tench", "n02085620-Chihuahua"],
    ],
)
def test_numbers_are_ordered_as_numbers(names):
    assert in_order(names[::-1]) == tuple(names)


@pytest.mark.parametrize(
    "names",
    [
        ["ant", "bee", "cat"],
        ["Cessna 172", "DC-10", "DC-3", "DC-6"],  # as FGVC-Aircraft's own list of classes has them
        ["10", "9", "two"],
        ["infinity", "nan", "one"],
    ],
)
def test_words_are_ordered_by_their_characters(names):
    assert in_order(names[::-1]) == tuple(names)


def test_a_number_is_one_number():
    assert whole_numbers(["c1", "c2", "c10"]) == (1, 2, 10)
    assert whole_numbers(["07", "8.0"]) == (7, 8)
    for none in (["1", "01"], ["0.5", "1.0"], ["a", "b"], ["a1", "b2"], []):
        assert whole_numbers(none) is None


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["7", "7.0", "07", " +7", "7,0", "7."], [7] * 6),
        (["2.0", "", "-1.0", "nan", "NaN"], [2, -1, -1, -1, -1]),
        (["c10", "c9", "", "c1"], [2, 1, -1, 0]),
        (["nan", "roti", "nan"], [0, 1, 0]),
        (["0.5", "10.5", "2.5"], [0, 2, 1]),
    ],
)
def test_labels_of_a_table(words, values):
    assert Labels.of(words).values.tolist() == values


@pytest.fixture
def match(tmp_path):
    def matched(lines, names, labels):
        (tmp_path / "c.txt").write_text("\n".join(lines))
        found = match_classes(tmp_path / "c.txt", "label", names, np.array(labels))
        return found.places[np.array(labels)].tolist(), found.told

    return matched


def test_lines_that_say_the_names_are_matched_by_them(match):
    names = ["cat", "great_white_shark", "n02085620-Chihuahua"]
    places, told = match(["Chihuahua", "a distractor", "Great White-shark", "cat"], names, [0, 1, 2])
    assert (places, "by their names" in told) == ([3, 2, 0], True)


def test_numbers_are_matched_by_number(match):
    ten = [f"thing {i}" for i in "abcdefghij"]
    folders = list(in_order(str(n) for n in range(1, 11)))
    assert match(ten, folders, range(10))[0] == list(range(10))
    counted = [str(n) for n in range(11)]  # a list of labels 1 .. 10 has names from 0
    places, told = match(ten, counted, range(1, 11))
    assert places == list(range(10))
    assert "in numeric order: 1 is 'thing a', 2 is 'thing b'" in told
    places, told = match(ten, ["0", "3", "7"], [0, 1, 2])  # a subset: a number is its own line
    assert (places, "counted from 0" in told) == ([0, 3, 7], True)
    places, told = match(ten, ["1", "3", "10"], [0, 1, 2])
    assert (places, "counted from 1" in told) == ([0, 2, 9], True)
    with pytest.raises(ValueError, match=r"has 10 classes, but label has 2 values \(0, 10\), up to 10"):
        match(ten, ["0", "10"], [0, 1])


def test_words_need_a_line_each_in_their_order(match):
    assert match(["katze", "hund"], ["cat", "dog"], [0, 1])[1].endswith("cat is 'katze', dog is 'hund'")
    with pytest.raises(ValueError, match=r"has 3 classes, but label has 2 values \(cat, dog\)"):
        match(["katze", "hund", "vogel"], ["cat", "dog"], [0, 1])
    with pytest.raises(ValueError, match="has 'cat' in line 2, but it is label 1"):
        match(["hund", "cat"], ["cat", "dog"], [0, 1])


@pytest.mark.parametrize("form", ["{}", "class_{}", "{:03d}", "c{}", "{}.0"])
def test_folders_and_lists_agree(tmp_path, form):
    """The same labels as folders and as a list have the same order."""
    names = [form.format(n) for n in (10, 2, 1)]
    rows = ["path,label"]
    for name in names:
        (tmp_path / "d" / name).mkdir(parents=True)
        (tmp_path / "d" / name / "a.png").touch()
        rows.append(f"d/{name}/a.png,x{name}")  # words, so that a list does not count from 0
    (tmp_path / "list.csv").write_text("\n".join(rows))
    folders, listed = open_data(tmp_path / "d"), open_data(tmp_path / "list.csv")
    assert [f"x{name}" for name in folders.label_names["label"]] == list(listed.label_names["label"])
    assert folders.label_names["label"] == tuple(names[::-1])
    assert {folders[i].name: folders[i].labels["label"] for i in range(3)} == {
        f"{name}/a.png": place for place, name in enumerate(names[::-1])
    }


def test_wordnet_ids_have_words_wherever_they_stand():
    ids = ["n01440764", "n02085782-Japanese_spaniel", "n02085620_Chihuahua", "n99999999", "n02012849"]
    assert readable(ids) == ("tench", "Japanese spaniel", "Chihuahua", "n99999999", "crane bird")


def test_smells():
    rng, names = np.random.default_rng(0), tuple("abcdefghij")
    labels = np.repeat(np.arange(10), 20)
    assert prediction_smells("label", names, labels, labels) == []
    (said,) = prediction_smells("label", names, (labels * 3) % 10, labels)
    assert "with the classes in another order it would be 100.0%" in said
    (said,) = prediction_smells("label", names, np.full(200, 4), labels)
    assert said.startswith("every image is predicted to be 'e'")
    guess = rng.integers(0, 10, 200)
    assert prediction_smells("label", names, guess, labels) == []
    (said,) = prediction_smells("label", names[:2], np.where(np.arange(200) < 60, 1, 0), np.arange(200) % 2 * 0 + 1)
    assert "below chance, 50.0%" in said
    assert prediction_smells("label", names, np.full(200, 4), np.full(200, 4)) == []
    assert prediction_smells("label", names, rng.permutation(1000)[:7], np.arange(7)) == []


def test_chance_alone_does_not_smell():
    """Of a thousand guesses at random among two to a thousand classes, nearly none is called out of order."""
    rng, said = np.random.default_rng(1), 0
    for n_classes in (2, 5, 20, 100, 1000):
        for n in (8, 30, 300):
            for _ in range(60):
                labels, guess = rng.integers(0, n_classes, (2, n))
                said += bool(prediction_smells("label", tuple(map(str, range(n_classes))), guess, labels))
    assert said <= 900 * 0.03


def test_small_pictures_smell():
    said = size_smell([(32, 32), (8, 9)], (224, 224), 2)
    assert "all 2 images are smaller than the model's input of 224 x 224" in said
    assert size_smell([(32, 32), (8, 224)], (224, 224), 2) == size_smell([], (224, 224), 2) == ""


def test_what_run_found_is_said(tmp_path, capsys):
    from command import status
    from test_sources import paint

    for number in range(1, 12):
        paint(tmp_path / "d" / str(number) / "a.png", number)
    (tmp_path / "d" / "7" / "b.heic2").touch()
    (tmp_path / "d" / "@eaDir").mkdir()
    assert status("run", "scenes", tmp_path / "d", "--bank", "--batch", "20", "--out", tmp_path / "r", "--json") == 0
    shown = capsys.readouterr()
    assert "label label: 11 classes, in this order: 1, 2, 3, 4, 5, 6, 7, 8, 9, .. 11\n" in shown.err
    assert "1 file of other kinds skipped: .heic2\n" in shown.err
    assert "all 11 images are smaller than the model's input" in shown.err
    found = json.loads(shown.out)
    assert (found["labels"]["label"], found["skipped"]) == ([str(n) for n in range(1, 12)], {".heic2": 1})

    names = [f"thing {i}" for i in "abcdefghijk"]
    (tmp_path / "classes.txt").write_text("\n".join(names))
    options = ("--classes", tmp_path / "classes.txt", "--no-completeness", "--out", tmp_path / "a", "--json")
    assert status("ablate", tmp_path / "r", *options) == 0
    shown = capsys.readouterr()
    assert "matched in numeric order: 1 is 'thing a', 2 is 'thing b'" in shown.err
    assert all(line in shown.err for line in json.loads(shown.out)["smells"])


def test_one_class_is_no_classification(tmp_path, capsys):
    from command import status
    from test_sources import paint

    paint(tmp_path / "d" / "cat" / "a.png", 4)
    with pytest.raises(ValueError, match=r"one class is no classification; pass .*cat, or kind='tree'"):
        open_data(tmp_path / "d")
    run = ("run", "scenes", tmp_path / "d", "--kind", "classes", "--bank", "--batch", "20", "--out", tmp_path / "r")
    assert status(*run) == 0
    assert status("ablate", tmp_path / "r", "--no-completeness", "--out", tmp_path / "a") == 1
    assert "has one class alone, cat, and every image would be right" in capsys.readouterr().err
