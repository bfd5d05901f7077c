"""The report in a real Chromium, from the disk: no complaint, no request; by keyboard and screen reader, on phone and
paper."""

import itertools
import re
import shutil
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

import pytest
import report_run

from jaxclip.report.html import modules
from jaxclip.report.html.build import page


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return report_run.report(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    return report_run.html(tmp_path_factory.getbasetemp())


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
def show(browser, tmp_path):
    """Opens a report from the disk, and afterwards asks what the browser complained of or wanted."""
    said, asked, files = [], [], []

    def opened(html):
        files.append((tmp_path / f"report{len(files)}.html").as_uri())
        Path(files[-1].removeprefix("file://")).write_text(html, encoding="utf-8")
        tab = browser.new_page(viewport={"width": 1100, "height": 800})
        tab.set_default_timeout(20_000)
        tab.on("console", lambda message: said.append(message.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.on("request", lambda request: request.url.startswith("data:") or asked.append(request.url))
        tab.goto(files[-1])
        return tab

    yield opened
    assert said == []
    assert asked == files


@pytest.fixture
def tab(show, html):
    opened = show(html)
    yield opened
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


def arrives(tab, words):
    """At the page of this heading: an address changes at once, its page is drawn a little later."""
    tab.wait_for_function("words => document.querySelector('main h1')?.innerText === words", arg=words)


def test_a_reader_finds_their_way_with_the_keyboard(tab, report):
    tab.keyboard.press("/")
    tab.keyboard.type("head 1.2")
    tab.keyboard.press("Enter")
    assert heading(tab) == "“head 1.2”"
    assert "1 head," in tab.locator("#status").inner_text()
    tab.locator("main a", has_text="Layer 1, head 2").click()
    arrives(tab, "Layer 1, head 2")
    assert tab.evaluate("document.activeElement.tagName") == "H1"
    assert tab.locator(".texts > li").count() == len(report["pages"][1][2]["basis"])
    tab.get_by_role("link", name="Overview").click()
    tab.locator('[data-at="0,0"]').focus()
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("ArrowRight")
    tab.keyboard.press("Enter")
    arrives(tab, "Layer 1, head 1")
    for name in ("Direct effect", "Property"):
        tab.get_by_role("link", name="Overview").click()
        tab.get_by_role("radio", name=name).check()
        assert tab.evaluate("document.activeElement.value") in ("effect", "property")


def test_every_page_draws_and_words_stay_words(tab, report):
    image = next(one["number"] for one in report["images"] if one["page"])
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
    image = next(one["number"] for one in report["images"] if one["page"])
    go(tab, f"image/{image}")
    tab.get_by_role("combobox", name="Question").select_option(label="background")
    before = tab.locator(".look canvas").evaluate("canvas => canvas.toDataURL()")
    tab.locator(".options input").last.check()
    assert tab.locator(".look canvas").evaluate("canvas => canvas.toDataURL()") != before
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert tab.evaluate("document.documentElement.dataset.theme") == "dark"


def test_no_table_of_the_overview_is_cut_on_a_phone_and_numbers_have_a_unit_or_a_whole(tab, report):
    tab.set_viewport_size({"width": 390, "height": 800})
    go(tab, "")
    cut = "[...document.querySelectorAll('.scroll')].filter(x => x.scrollWidth > x.clientWidth).length"
    assert tab.evaluate(cut) == 0
    asked = tab.locator("main section", has=tab.get_by_role("heading", name="What was asked")).inner_text()
    assert f"of {report['questions'][1]['n']}" in asked
    assert "cosine similarity" in asked
    for at in ("head/1/2", "text/0", "image/0"):
        go(tab, at)
        assert "cosine similarity" in " ".join(tab.locator("main .note").all_inner_texts())


PAGE = files("jaxclip.report.html") / "page"
MODULES = {path.name.removesuffix(".js"): path.read_text(encoding="utf-8")
           for path in PAGE.iterdir() if path.name.endswith(".js")}  # fmt: skip


def test_signs_are_written_only_where_digits_are(browser):
    """numbers.js imports nothing, so that a browser takes it as the module that it is."""
    tab, module = browser.new_page(), "data:text/javascript," + quote(MODULES["numbers"])
    call = "async module => [-0.00004, 0, -0.00006, 0.5, null].map((await import(module)).signed)"
    assert tab.evaluate(call, module) == ["0", "0", "\u22120.0001", "+0.500", "\u2013"]
    tab.close()


def test_modules_leave_no_name_behind_in_the_page(tab):
    declared = re.compile(r"^(?:export )?(?:const|let|function) (\w+)", re.MULTILINE)
    names = sorted({name for source in MODULES.values() for name in declared.findall(source)})
    assert len(names) > 80
    for name in names:
        # An element's id is a name too, which holds that element.
        assert tab.evaluate(f"typeof {name} === 'undefined' || {name} instanceof Element"), name


def test_modules_are_of_lines_that_can_be_read_and_say_what_they_are():
    for name, source in MODULES.items():
        lines = source.splitlines()
        assert lines[0].startswith("/** "), f"{name}.js says in its first line what it is about"
        assert len(lines) <= 320, name
        assert max(map(len, lines)) <= 120, name
        for shown in re.findall(r"([^\n]*)\nexport function \w+", source):
            assert shown.strip() == "*/" or shown.startswith("/** "), f"{name}.js: {shown}: a function has JSDoc"


def test_modules_that_cannot_be_joined_say_why():
    def joined(**sources):
        return modules.script("app", lambda name: sources[name])

    one = 'import {b} from "./other.js";\n'
    assert joined(app=one, other="export const b = 1;\n").index("const b = 1") == len(
        '"use strict";\nconst $other = (() => {\n'
    )
    with pytest.raises(ValueError, match=r"app\.js imports b, which other\.js does not export"):
        joined(app=one, other="const b = 1;\n")
    with pytest.raises(ValueError, match=r"app > other > app: .*circle"):
        joined(app=one, other='import {a} from "./app.js";\nexport const b = a;\n')
    for first in ('import * as all from "./other.js";\n', 'import "./other.js";\n', "export let b = 1;\n"):
        with pytest.raises(ValueError, match="write import"):
            joined(app=first, other="export const b = 1;\n")


BARS = """() => [...document.querySelectorAll("table.bars, fieldset.options, ol.texts, table.bars.named")].map(
  (list) => [...list.querySelectorAll(".bar")].map((bar) => {
    const fill = bar.querySelector(".fill"), whole = bar.querySelector(".zero") ? 50 : 100;
    const part = parseFloat(fill.style.width) / whole * (fill.classList.contains("minus") ? -1 : 1);
    return [part, bar.querySelector(".value").textContent];
  }))"""


def test_bars_of_different_lengths_have_different_numbers_and_those_are_right(tab, report):
    image = next(one for one in report["images"] if one["page"])
    seen = 0
    for at in ("", "head/1/2", "head/5/0", f"image/{image['number']}", "text/0"):
        go(tab, at)
        for bars in tab.evaluate(BARS):
            for (one, words), (other, others) in itertools.combinations(bars, 2):
                assert words != others or abs(one - other) < 1 / 150, (at, words, one, other)
                seen += abs(one - other) >= 1 / 150
    assert seen > 100
    go(tab, f"image/{image['number']}")
    for words in tab.locator("fieldset.options .value").all_inner_texts():
        rounding = 0.51 * 10.0 ** -len(words.partition(".")[2])
        number = float(words.replace("\u2212", "-"))
        assert min(abs(number - score) for score in image["page"]["scores"]) < rounding


def test_an_images_page_is_found_by_its_number(tab, report):
    for image in report["images"][:3]:
        go(tab, f"image/{image['number']}")
        assert heading(tab) == image["name"]
        assert f"Image {image['number']} of the data" in tab.locator("main .lede").inner_text()
    go(tab, "images")
    link = tab.locator("main a[href*='/image/']").last
    name, to = link.locator("figcaption").inner_text(), link.get_attribute("href").rsplit("/", 1)[-1]
    assert next(one["name"] for one in report["images"] if str(one["number"]) == to).endswith(name)


def test_one_of_something_is_one(show, report):
    tab = show(page([report | {"n_images": 1, "layers": report["layers"]}]))
    assert "with 1 image." in tab.locator("main .lede").first.inner_text()
    tab.close()


PAGES = (
    "",
    "heads",
    "head/1/2",
    "images",
    "image/0",
    "texts",
    "text/0",
    "results",
    "results/1",
    "search/red",
    "nothing",
)


def test_axe_finds_nothing_to_say_in_light_or_dark(tab):
    axe = pytest.importorskip("axe_playwright_python", reason="needs axe-playwright-python (in the extra test)")
    tab.evaluate(next(Path(axe.__file__).parent.rglob("axe.min.js")).read_text(encoding="utf-8"))
    for scheme, at in itertools.product(("light", "dark"), PAGES):
        tab.emulate_media(color_scheme=scheme)
        go(tab, at)
        found = tab.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        assert [(at, scheme, one["id"], one["nodes"][0]["html"]) for one in found] == []


def test_the_first_stop_of_the_keyboard_skips_to_the_content(tab):
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent") == "Skip to the content"
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.activeElement.id") == "main"


def test_search_finds_texts_heads_and_images(tab, report):
    image = report["images"][0]
    kind, value = next(iter(image["labels"].items()))
    tab.get_by_role("searchbox").fill(f"{kind} {value}")
    named = tab.locator("main section", has=tab.get_by_role("heading", name="Images"))
    assert named.get_by_text(image["name"].split("/")[-1]).count() == 1
    tab.get_by_role("searchbox").fill("bird")
    assert tab.locator("main").get_by_role("heading", level=2).all_inner_texts()[0].startswith("Texts")
    tab.get_by_role("searchbox").fill("head 0.0")
    assert tab.get_by_role("link", name="Layer 0, head 0").count() == 1
    tab.get_by_role("searchbox").fill("zzz")
    assert "try fewer" in tab.locator("main").inner_text()


def test_results_are_told_by_kind_and_shown_whole_on_a_page_of_their_own(tab):
    go(tab, "results")
    words = tab.locator("main").inner_text()
    told = (
        "Ablation",
        "\u221237.5",
        "Debiasing",
        "50.0% ± 10.0%",
        "Retrieval",
        "1 of 2 in both",
        "Segmentation",
        "75.0%",
    )
    assert [part for part in told if part not in words] == []
    assert "undefined" not in words
    assert "NaN" not in words
    assert tab.get_by_role("link", name="1.0", exact=True).get_attribute("href") == "#/0/head/1/0"
    go(tab, "results/1")
    assert {"12.5%", "75.0%"} <= set(tab.locator("main .grid .cell").all_inner_texts())
    go(tab, "results")
    tab.get_by_role("link", name="Everything it wrote: masks").click()
    tab.get_by_role("heading", name="Everything it wrote").wait_for()
    assert heading(tab).startswith("Segmentation")
    for at in ("results/99", "results/x"):
        go(tab, at)
        assert heading(tab) == "Not found"


def test_two_runs_stand_side_by_side(show, report):
    pages = [list(row) for row in report["pages"]]
    pages[0][1], pages[1][2] = pages[1][2], pages[0][1]
    tab = show(page([report, report | {"pages": pages, "name": "swapped"}]))
    tab.get_by_role("link", name="Two runs").click()
    tab.get_by_role("heading", name="Which heads changed role").wait_for()
    rows = tab.locator("main section", has_text="Which heads changed role").locator("tbody tr")
    assert {rows.nth(i).locator("th").inner_text() for i in range(2)} == {"0.1", "1.2"}
    tab.get_by_role("combobox", name="Run").select_option("swapped")
    tab.wait_for_function("location.hash.startsWith('#/1/')")


@pytest.mark.parametrize(("width", "worded"), [(390, False), (1280, True)])
def test_numbers_of_twelve_heads_are_whole_or_left_to_the_colour(show, report, width, worded):
    twelve = report | {"heads": 12, "pages": [row * 3 for row in report["pages"]]}
    twelve |= {"variance": report["variance"] | {"heads": [row * 3 for row in report["variance"]["heads"]]}}
    twelve |= {"questions": [one | {"heads": [row * 3 for row in one["heads"]]} for one in report["questions"]]}
    tab = show(page([twelve | {"images": [one | {"page": None} for one in report["images"]]}]))
    tab.set_viewport_size({"width": width, "height": 800})
    for name in ("Variance", "Direct effect"):
        tab.get_by_role("radio", name=name).check()
        cells = tab.evaluate(
            "[...document.querySelectorAll('.grid [data-at]')]"
            ".map(x => [x.scrollWidth <= x.clientWidth, parseFloat(getComputedStyle(x).fontSize) > 0])"
        )
        assert cells == [[True, worded]] * 72


def test_on_paper_there_is_the_page_and_nothing_to_press(tab):
    tab.get_by_role("button", name="Switch to dark colours").click()
    go(tab, "head/1/2")
    assert tab.pdf(prefer_css_page_size=True).startswith(b"%PDF")
    # Afterwards the reader has their colours back.
    assert tab.evaluate("document.documentElement.dataset.theme") == "dark"
    tab.emulate_media(media="print")
    assert not tab.locator("nav").is_visible()
    assert not tab.get_by_role("searchbox").is_visible()
    assert tab.locator("h1").is_visible()
