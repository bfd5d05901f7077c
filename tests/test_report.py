"""The report: its numbers are the run's, it is one file that needs nothing, and a browser shows it as it should."""

import base64
import itertools
import json
import re
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import jaxclip
from jaxclip.cli import main
from jaxclip.data.scenes import CHECKPOINT, scene
from jaxclip.data.sources import open_data
from jaxclip.passes import PassOptions, run_pass
from jaxclip.pools import Pool
from jaxclip.report.build import changes, escaped, page, read_results
from jaxclip.report.report_data import ReportOptions, _within, collect
from jaxclip.report.report_pictures import Pictures, run_source
from jaxclip.report.report_terms import TEXTS

HOSTILE = "</script><img src=x onerror=\"document.title='owned'\"><!-- \u2028 ${x} %%DATA%% &amp; 'quoted'"
OPTIONS = ReportOptions(texts=("a red circle", HOSTILE), steps=3, examples=2, images=4)
N = 24
POOL = Pool(
    "small",
    ("a red bird", "something blue", "something on grass", "the sea", HOSTILE, "two stars"),
    ("colour", "colour", "background", "background", HOSTILE, "number"),
)


@pytest.fixture(scope="module")
def clip():
    return jaxclip.load(CHECKPOINT)


@pytest.fixture(scope="module")
def run(clip, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "scenes_run"
    options = PassOptions(batch=8, bank=True)
    return run_pass(clip, open_data("scenes", limit=N), folder, options, model="scenes", data="scenes")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results") / "ablation"
    folder.mkdir()
    found = {"accuracy": 0.5, HOSTILE: [{"layer": 0, "error": float("nan")}], "grid": [[1.0, -2.0], [0.5, 0.0]]}
    (folder / "results.json").write_text(json.dumps(found))
    Image.new("RGB", (40, 30), "red").save(folder / "figure.png")
    (folder / "broken.png").write_bytes(b"no picture")
    return read_results(folder)


def collected(run, clip, pool, options, data=None):
    pictures = Pictures(run, run_source(run, data), clip.config.preprocess)
    return collect(run, clip, pictures, pool, options, source=str(CHECKPOINT), progress=lambda *stage: None)


@pytest.fixture(scope="module")
def report(run, clip):
    return collected(run, clip, POOL, OPTIONS)


@pytest.fixture(scope="module")
def html(report, results):
    return page([report], [results])


def encoded(clip, texts):
    """Unit embeddings, in a batch of the size that the report has compiled already."""
    tokens = clip.tokenize([*texts, *["padding"] * (TEXTS - len(texts))])
    return np.asarray(clip.encode_text(tokens, normalize=True), np.float64)[: len(texts)]


def bytes_of(entry, *shape):
    numbers = np.frombuffer(base64.b64decode(entry["bytes"]), np.int8)
    return numbers.reshape(shape) * entry["scale"]


def test_direct_effects_sum_to_the_mean_score_of_the_right_texts(run, clip, report):
    question = next(one for one in report["questions"] if one["name"] == "background")
    prompts = jaxclip.data.scenes.prompts("background")
    texts = encoded(clip, list(itertools.chain(*prompts)))
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
    text = encoded(clip, [report["texts"][found["text"]]["text"]])[0]
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
        rounding = layers * heads * found["heads"]["scale"] + layers * found["mlp"]["scale"]
        np.testing.assert_allclose(total, found["scores"], atol=rounding)
        assert np.abs(bytes_of(found["maps"], n, patches)).max() > 0


def test_the_card_says_what_was_chosen_and_that_the_sum_holds(report, run):
    assert report["card"]["check"]["holds"]
    assert ["Image tower's hash", run.info["model"]["hash"]] in report["card"]["rows"]
    assert all(one["value"] and one["why"] for one in report["card"]["chosen"])
    assert str(CHECKPOINT.parent) not in json.dumps(report["card"])


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
    found = collected(run, clip, Pool("words", ("a red circle", "the sea", "two stars")), options)
    assert [one["name"] for one in found["questions"]] == ["texts of the strongest heads"]
    assert found["properties"] == []
    names = [image["name"] for image in found["images"] if image["picture"].startswith("data:image/webp;base64,")]
    assert len(names) > 2
    assert "3.png" not in names
    (tmp_path / "4.png").rename(tmp_path / "44.png")
    with pytest.raises(ValueError, match=r"the run had 4\.png"):
        Pictures(run, run_source(run), clip.config.preprocess).inputs([run.names.index("4.png")])


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.text(), st.lists(st.text() | st.integers() | st.none())))
def test_data_come_through_their_script_and_cannot_end_it(data):
    text = escaped(data)
    assert json.loads(text) == data
    assert text.isascii()
    assert not re.search("[<>&]", text)
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


@pytest.fixture(scope="module")
def browser():
    """A real Chromium; tests that need it skip where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("needs a Chromium (apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=path, args=["--no-sandbox"], timeout=120_000)
        yield opened
        opened.close()


@pytest.fixture
def tab(browser, html, tmp_path):
    """The report from the disk, with everything a browser might complain of or ask for."""
    file = tmp_path / "report.html"
    file.write_text(html, encoding="utf-8")
    opened = browser.new_page(viewport={"width": 1100, "height": 800})
    opened.set_default_timeout(60_000)
    said, asked = [], []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda request: request.url.startswith("data:") or asked.append(request.url))
    opened.goto(file.as_uri())
    yield opened
    assert said == []
    assert asked == [file.as_uri()]
    opened.close()


def go(tab, at):
    """To an address of the first run; back when its page is drawn."""
    tab.evaluate(
        "to => new Promise(done => { addEventListener('hashchange', () => setTimeout(done), {once: true});"
        " location.hash = to; })",
        f"#/0/{at}",
    )


def heading(tab):
    return tab.locator("main h1").inner_text()


def test_a_reader_finds_their_way_with_the_keyboard(tab, report):
    tab.keyboard.press("/")
    tab.keyboard.type("head 1.2")
    tab.keyboard.press("Enter")
    assert heading(tab) == "“head 1.2”"
    assert "1 head," in tab.locator("#status").inner_text()
    tab.locator("main a", has_text="Layer 1, head 2").click()
    assert heading(tab) == "Layer 1, head 2"
    assert tab.evaluate("document.activeElement.tagName") == "H1"
    assert tab.locator(".texts > li").count() == len(report["pages"][1][2]["basis"])
    tab.get_by_role("link", name="Overview").click()
    tab.locator('[data-at="0,0"]').focus()
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("Enter")
    tab.wait_for_function("document.querySelector('h1').innerText === 'Layer 1, head 1'")
    for name in ("Direct effect", "Property"):
        tab.get_by_role("link", name="Overview").click()
        tab.get_by_role("radio", name=name).check()
        assert tab.evaluate("document.activeElement.value") in ("effect", "property")


def test_every_page_draws_and_words_stay_words(tab, report):
    image = next(i for i, one in enumerate(report["images"]) if one["page"])
    titles = {"heads": "Heads", "texts": "Texts", "results": "Results", "search/red": "“red”", "nonsense": "Not found"}
    for at in ("heads", "images", f"image/{image}", "texts", "text/0", "results", "search/red", "head/9/9", "nonsense"):
        go(tab, at)
        assert heading(tab) == titles.get(at, heading(tab))
        assert tab.evaluate("document.querySelectorAll('main script, img[src=x]').length") == 0
        assert tab.title().endswith("jaxclip report")
    go(tab, "results")
    assert "</script><img src=x" in tab.locator("main").inner_text()


def test_an_image_answers_for_any_of_its_texts_on_a_phone_in_the_dark(tab, report):
    tab.set_viewport_size({"width": 375, "height": 700})
    tab.get_by_role("button", name="Switch to dark colours").click()
    image = next(i for i, one in enumerate(report["images"]) if one["page"])
    go(tab, f"image/{image}")
    tab.get_by_role("combobox", name="Question").select_option(label="background")
    before = tab.locator(".look canvas").evaluate("canvas => canvas.toDataURL()")
    tab.locator(".options input").last.check()
    assert tab.locator(".look canvas").evaluate("canvas => canvas.toDataURL()") != before
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert tab.evaluate("document.documentElement.dataset.theme") == "dark"
