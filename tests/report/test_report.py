"""The report: its numbers are the run's, and it is one file that needs nothing."""

import base64
import itertools
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import report_run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from report_run import OPTIONS, N

import jaxclip
from jaxclip.cli.main import main
from jaxclip.data.open_data import open_data
from jaxclip.data.scenes import CHECKPOINT, scene
from jaxclip.data.text_pools import Pool
from jaxclip.report.html.build import changes, escaped
from jaxclip.report.html.packing import Pictures
from jaxclip.report.html.questions import Question, Terms, question_smells, run_terms
from jaxclip.report.html.run_data import ReportOptions, _within
from jaxclip.runs.images import run_source
from jaxclip.runs.run_pass import PassOptions, run_pass


@pytest.fixture(scope="module")
def clip():
    return report_run.clip()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return report_run.run(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return report_run.report(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    return report_run.html(tmp_path_factory.getbasetemp())


def bytes_of(entry, *shape):
    kind = "bytes" if "bytes" in entry else "pairs"
    numbers = np.frombuffer(base64.b64decode(entry[kind]), {"bytes": "i1", "pairs": "<i2"}[kind])
    return numbers.reshape(shape) * entry["scale"]


def test_direct_effects_sum_to_the_mean_score_of_the_right_texts(run, clip, report):
    question = next(one for one in report["questions"] if one["name"] == "background")
    prompts = jaxclip.data.scenes.prompts("background")
    texts = report_run.encoded(list(itertools.chain(*prompts)))
    classes = texts.reshape(len(prompts), -1, texts.shape[-1]).mean(1)
    classes /= np.linalg.norm(classes, axis=-1, keepdims=True)
    scores = run.bank.read("embedding").astype(np.float64) @ (classes - classes.mean(0)).T
    labels = run.labels["background"]
    expected = scores[np.arange(N), labels].mean()
    total = np.sum(question["heads"]) + np.sum(question["mlp"]) + question["init"]
    # Every entry is rounded to four digits.
    assert total == pytest.approx(expected, abs=5e-4 * np.abs(question["heads"]).sum())
    assert question["accuracy"] == pytest.approx((scores.argmax(-1) == labels).mean())


def test_a_heads_examples_are_the_images_it_answers_most_and_least(run, clip, report):
    layer, head = report["layers"] - 1, 0
    found = report["pages"][layer][head]["basis"][0]
    text = report_run.encoded([report["texts"][found["text"]]["text"]])[0]
    terms = run.bank.head(layer, head).astype(np.float64) @ np.asarray(run.matrices[layer, head], np.float64)
    answers = terms @ text - (terms @ text).mean()
    most, least = ([report["images"][one["image"]]["name"] for one in found[side]] for side in ("most", "least"))
    order = np.argsort(-answers)
    assert (most, least) == tuple([run.names[i] for i in some] for some in (order[:2], order[::-1][:2]))
    assert [one["value"] for one in found["most"]] == pytest.approx(answers[order[:2]], rel=1e-3)


def test_an_images_page_adds_up(report, clip):
    layers, heads, patches = report["layers"], report["heads"], int(np.prod(report["grid"]))
    pages = [image["page"] for image in report["images"] if image["page"]]
    assert len(pages) == OPTIONS.images
    for found in pages:
        n = len(found["texts"])
        terms = bytes_of(found["heads"], n, layers * heads), bytes_of(found["mlp"], n, layers)
        total = terms[0].sum(1) + terms[1].sum(1) + found["init"]
        # Half a step a term, and scores are rounded to four digits.
        rounding = (layers * heads * found["heads"]["scale"] + layers * found["mlp"]["scale"]) / 2
        np.testing.assert_allclose(total, found["scores"], atol=rounding + 5e-4 * np.abs(found["scores"]).max())
        assert rounding < 0.002 * np.abs(found["scores"]).max()
        assert np.abs(bytes_of(found["maps"], n, patches)).max() > 0


def test_the_card_says_what_was_chosen_and_that_the_sum_holds(report, run):
    assert report["card"]["check"]["holds"]
    assert ["Image tower's hash", run.info["model"]["hash"]] in report["card"]["rows"]
    assert all(one["value"] and one["why"] for one in report["card"]["chosen"])
    assert str(CHECKPOINT.parent) not in json.dumps(report["card"])


def test_what_smells_is_on_the_page(clip, tmp_path):
    """Small pictures, all of them red, half of which lie in a folder called blue."""
    reds = (drawn["image"] for i in itertools.count() if (drawn := scene(0, "test", i))["labels"]["colour"] == 0)
    for number, image in zip(range(10), reds, strict=False):
        path = tmp_path / "data" / ("red", "blue")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).resize((40, 40)).save(path)
    source = open_data(tmp_path / "data")
    run = run_pass(clip, source, tmp_path / "run", PassOptions(batch=8, bank=True), data=str(tmp_path / "data"))
    found = report_run.collected(run, report_run.POOL, ReportOptions(steps=2, examples=1, images=1))
    one, small = found["card"]["smells"]
    assert one.startswith("every image is predicted to be 'red': look whether")
    assert small.startswith("all 10 images are smaller than the model's input")
    assert found["card"]["rows"][-2:] == [["Look at", one], ["Look at", small]]
    html = report_run.page([found], [])
    assert all(escaped(said) in html for said in (one, small))


@pytest.mark.parametrize(
    ("right", "said"),
    [
        ([0.0, 0.0], "accuracy on colour is 0.0%, but with the classes in another order it would be 100.0%"),
        ([0.2, 0.2], "accuracy on colour is 20.0%, but with the classes in another order it would be 80.0%"),
        ([0.37, 0.37], "accuracy on colour is 37.0%, below chance, 50.0%"),
        ([1.0, 0.0], "every image is predicted to be 'red'"),
        ([0.9, 0.9], None),
    ],
)
def test_what_smells_about_the_answers(right, said):
    """Of 100 images each of two classes, as many are right."""
    labels = np.repeat([0, 1, -1], 100).astype(np.int32)
    hit = np.tile(np.arange(100), 3) < np.repeat([*right, 0.0], 100) * 100
    embedding = np.eye(2, dtype=np.float32)[np.where(hit, labels, 1 - labels).clip(0, 1)]
    terms = Terms(np.arange(300), embedding, embedding, embedding[:, None], lambda layer, head: embedding)
    question = Question("colour", ("red", "blue"), np.eye(2, dtype=np.float32), labels, True)
    found = question_smells([question, replace(question, known=False)], terms)
    assert [one.startswith(str(said)) for one in found] == [True] * (said is not None)


def test_pictures_beyond_the_budget_are_left_to_the_heads_that_vary_most():
    def head(*rows):
        return {"basis": [{"most": [(row, 0.5) for row in rows[:2]], "least": [(row, -0.5) for row in rows[2:]]}]}

    heads = [[head(1, 2, 3), head(4, 5, 6)]]
    assert sorted(_within(heads, np.array([[0.1, 0.9]]), 4)) == [1, 4, 5, 6]
    assert heads[0][0]["basis"][0] == {"most": [(1, 0.5)], "least": []}


def test_a_folder_without_labels_or_bank_is_asked_about_its_heads_texts(clip, tmp_path):
    for i in range(7):
        Image.fromarray(scene(1, "test", i, n_captions=1)["image"]).save(tmp_path / f"{i}.png")
    (tmp_path / "3.png").write_bytes(b"broken")
    run = run_pass(clip, open_data(tmp_path), tmp_path / "run", PassOptions(batch=8), data=str(tmp_path))
    options = ReportOptions(steps=2, examples=1, images=2)
    found = report_run.collected(run, Pool("words", ("a red circle", "the sea", "two stars")), options)
    assert [one["name"] for one in found["questions"]] == ["texts of the strongest heads"]
    assert found["properties"] == []
    names = [image["name"] for image in found["images"] if image["picture"].startswith("data:image/webp;base64,")]
    assert len(names) > 2
    assert "3.png" not in names
    assert all(image["name"] == f"{image['number']}.png" for image in found["images"])
    (tmp_path / "4.png").rename(tmp_path / "44.png")
    with pytest.raises(ValueError, match=r"the run had 4\.png"):
        Pictures(run, run_source(run), clip.config.preprocess).inputs([run.names.index("4.png")])


@pytest.mark.parametrize("units", ["normalized", "raw"])
def test_a_run_without_a_bank_is_reported_in_its_own_units(clip, tmp_path, units):
    for i in range(9):
        Image.fromarray(scene(1, "test", i, n_captions=1)["image"]).save(tmp_path / f"{i}.png")
    options = PassOptions(batch=8, units=units)
    run = run_pass(clip, open_data(tmp_path), tmp_path / "run", options, data=str(tmp_path))
    pictures = Pictures(run, run_source(run), clip.config.preprocess)
    terms = run_terms(run, clip, pictures, 64)
    inputs = clip.preprocess([tmp_path / name for name in run.names])
    norms = np.linalg.norm(np.asarray(clip.encode_image(inputs)), axis=-1)
    assert norms.max() > 1.05 * norms.min() > 5
    parts = clip.vision(inputs, detail="head")[1]
    scale = np.ones_like(norms) if units == "raw" else 1 / norms
    heads = np.stack([[terms.head(layer, head) @ np.asarray(run.matrices[layer, head]) for head in range(4)]
                      for layer in range(6)])  # fmt: skip
    for found, raw in (
        (terms.embedding, parts.total()), (terms.init, parts.init), (terms.mlp, parts.mlp),
        (heads.transpose(2, 0, 1, 3), parts.attn),
    ):  # fmt: skip
        expected = np.asarray(raw) * scale.reshape(-1, *(1,) * (raw.ndim - 1))
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
    found = report_run.collected(run, Pool("words", ("a red circle", "the sea", "two stars")), OPTIONS)
    assert found["units"] == {"normalized": "cosine similarity", "raw": "units of the embedding"}[units]
    texts = report_run.encoded(list(OPTIONS.texts))
    directions = np.float32(texts - texts.mean(0))
    pages = [(run.names.index(image["name"]), image["page"]) for image in found["images"] if image["page"]]
    assert len(pages) == OPTIONS.images
    for row, page in pages:
        assert page["texts"] == [0, 1]
        np.testing.assert_allclose(page["scores"], terms.embedding[row] @ directions.T, rtol=1e-3, atol=1e-5)
        maps = np.asarray(clip.vision.map(inputs[row][None], directions))[0, 1:].T * scale[row]
        np.testing.assert_allclose(bytes_of(page["maps"], *maps.shape), maps, atol=0.51 * page["maps"]["scale"])


TURNS = "".join(map(chr, [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]))
TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\u061c\u200e\u200f" + TURNS))


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(TEXT, st.lists(TEXT | st.integers() | st.none())))
def test_data_come_through_their_script_and_cannot_end_it(data):
    text = escaped(data)
    assert json.loads(text) == data
    assert text.isascii()
    assert not re.search("[<>&]", text)
    assert json.loads(escaped({"a\x1b": ["b\u202e\n"]})) == {"a\\x1b": ["b\\u202e\n"]}
    assert json.loads(escaped([float("nan"), float("inf"), np.float32(2)])) == [None, None, 2]


def test_the_report_is_one_file_that_asks_for_nothing(html):
    assert not re.search(r"https?:|url\(|@import|\bfetch\(|XMLHttpRequest|innerHTML", html)
    assert re.findall(r"<(?:link|img|iframe|object)[^>]*>", html) == ['<link rel="icon" href="data:,">']
    assert html.count("</script>") == 2
    assert html.count("<!--") == 0
    assert "default-src 'none'" in html
    assert "unsafe" not in html


def test_a_head_that_swapped_its_texts_changed_its_role_and_the_same_head_did_not(report):
    assert all(one["texts"] == one["properties"] == 0 for one in changes(report, report))

    def run(*texts):
        heads = [{"basis": [{"text": text, "gain": gain}], "shares": [gain * (text == 0), gain * (text == 1)]}
                 for text, gain in texts]  # fmt: skip
        return {"layers": 1, "heads": 2, "texts": [{"text": "a"}, {"text": "b"}], "properties": ["x", "y"],
                "pages": [heads]}  # fmt: skip

    found = changes(run((0, 0.5), (1, 0.2)), run((0, 0.3), (0, 0.2)))
    assert [(one["head"], one["texts"], one["properties"]) for one in found] == [(1, 1, 1), (0, 0, 0)]
    assert changes(report, run((0, 1), (1, 1))) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "--out", "r.html"], "is no run"),
        (["nowhere", "--out", "."], "is a folder"),
        (["nowhere", "--out", "r.html", "--texts", "one"], "pass two or more"),
        (["nowhere", "--out", "r.html", "--images", "0"], "images must be at least 1"),
        (["nowhere", "--out", "r.html", "--results", "gone"], "gone does not exist"),
        (["a", "b", "--out", "r.html", "--model", "m"], "one for each of 2 runs"),
    ],
)
def test_bad_arguments_are_told_in_one_line(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_:
        main(["report", *arguments])
    assert exit_.value.code == 1
    assert re.fullmatch(f".*{message}.*", capsys.readouterr().err.strip())
