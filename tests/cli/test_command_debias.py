"""`jaxclip debias` over the scenes' birds, beside the same sums in float64 from the bank."""

import json
import shutil

import bird_run
import numpy as np
import oracle
import pytest
from command import only_line, status, with_info
from PIL import Image

import jaxclip
from jaxclip.analyses.ablation_sweeps import ablation_means
from jaxclip.analyses.debias import group_means
from jaxclip.data.scenes import FACTORS
from jaxclip.report.debias import curve_figure, print_debias

STEPS = 4
GIVEN = [(5, 2), (3, 1)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return bird_run.scenes(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    return bird_run.held_out(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def given(run, held_out, tmp_path_factory):
    """Results for heads named by hand, with means from the other split."""
    out = tmp_path_factory.mktemp("debias") / "given"
    options = ("--label", "bird", "--heads", "5.2,3.1,5.2", "--means-from", held_out, "--draws", "6", "--seed", "3")
    assert status("debias", run, *options, "--out", out) == 0
    return json.loads((out / "results.json").read_text())


@pytest.fixture(scope="module")
def proposed(run, tmp_path_factory):
    """Results for heads proposed from two layers."""
    out = tmp_path_factory.mktemp("debias") / "proposed"
    own, pool, *_ = bird_run.texts(tmp_path_factory.getbasetemp())
    options = ("--label", "bird", "--property", "scenery", "--property-texts", own, "--texts", pool, "--late", "2")
    assert status("debias", run, *options, "--steps", STEPS, "--draws", "1", "--out", out) == 0
    return json.loads((out / "results.json").read_text())


def contributions(run):
    """Every head's, [image, layer, head, embed] in float64, with labels of birds and groups."""
    opened = jaxclip.open_run(run)
    heads = np.einsum("blhu,lhue->blhe", np.float64(opened.bank.read("heads")), np.float64(opened.matrices))
    return heads, opened.labels["bird"], opened.labels["group"], np.float64(opened.bank.read("embedding"))


def accuracies(run, means_run, heads):
    """Accuracy of each group, when heads are replaced by their means over the birds of another run."""
    terms, birds, groups, ablated = contributions(run)
    others, _, grouped, _ = contributions(means_run)
    for layer, head in heads:
        ablated = ablated - terms[:, layer, head] + others[grouped >= 0, layer, head].mean(0)
    right = (ablated @ np.float64(bird_run.bird_classes()).T).argmax(1) == birds
    return [float(right[groups == group].mean()) for group in range(4)], float(right[groups >= 0].mean())


def heads_of(names):
    return [tuple(map(int, name.split("."))) for name in names]


@pytest.mark.parametrize(("part", "heads"), [("before", []), ("after", GIVEN)])
def test_accuracies_by_group(run, held_out, given, part, heads):
    groups, overall = accuracies(run, held_out, heads)
    found = given[part]
    assert list(found["groups"]) == list(FACTORS["group"])
    assert [one["n_images"] for one in found["groups"].values()] == [5] * 4
    assert [one["accuracy"] for one in found["groups"].values()] == pytest.approx(groups, abs=1e-6)
    assert found["worst_group"] == pytest.approx(min(groups), abs=1e-6)
    assert found["overall"] == pytest.approx(overall, abs=1e-6)
    assert found["weighted"] is None  # nobody said how many of each group there were in training


def test_random_heads_are_as_many_and_as_late(run, held_out, given):
    random = given["random"]
    assert given["heads"] == ["5.2", "3.1"]
    assert len(random["draws"]) == 6
    for draw in random["draws"]:
        assert len(set(draw["heads"])) == 2
        assert all(layer >= 2 for layer, _ in heads_of(draw["heads"]))
    for draw in random["draws"][:2]:
        groups, overall = accuracies(run, held_out, heads_of(draw["heads"]))
        assert (draw["worst_group"], draw["overall"]) == pytest.approx((min(groups), overall), abs=1e-6)
    worst = [draw["worst_group"] for draw in random["draws"]]
    assert random["worst_group"]["mean"] == pytest.approx(np.mean(worst), abs=1e-6)
    assert random["worst_group"]["std"] == pytest.approx(np.std(worst, ddof=1), abs=1e-6)
    assert (random["worst_group"]["min"], random["worst_group"]["max"]) == (min(worst), max(worst))


def test_the_curve_begins_with_nothing_and_passes_what_was_chosen(given):
    assert given["curve"]["overall"][0] == given["before"]["overall"]
    assert given["curve"]["worst_group"][2] == given["after"]["worst_group"]
    assert (given["proposed"], given["ranking"], given["property"]) == (False, [], None)


def test_heads_are_proposed_by_basis_and_variance(run, proposed, tmp_path_factory):
    *_, own, pool = bird_run.texts(tmp_path_factory.getbasetemp())
    terms, *_ = contributions(run)
    # What the pool says of the property as well ("on sand") counts as the property's.
    assert bird_run.OTHERS[-1] in bird_run.BACKGROUND
    everything, alone = np.concatenate([own, pool[:-1]]), np.asarray(own)
    assert {row["head"] for row in proposed["ranking"]} == {f"{layer}.{head}" for layer in (4, 5) for head in range(4)}
    for row in proposed["ranking"]:
        samples = terms[:, *map(int, row["head"].split("."))]
        picks, gains = basis(samples, everything)
        found = sum(gain for pick, gain in zip(picks, gains, strict=True) if pick < len(own)) / sum(gains)
        assert row["basis"] == pytest.approx(found, abs=1e-4)
        assert row["variance"] == pytest.approx(min(sum(basis(samples, alone)[1]) / sum(gains), 1), abs=1e-4)
        assert row["score"] == pytest.approx(np.sqrt(row["basis"] * row["variance"]), abs=1e-5)
        spread = np.square(terms - terms.mean(0)).sum((0, 3))
        assert row["size"] == pytest.approx(spread[*heads_of([row["head"]])[0]] / spread.sum(), abs=1e-5)
    scores = [row["score"] for row in proposed["ranking"]]
    assert scores == sorted(scores, reverse=True)
    held = [row["head"] for row in proposed["ranking"] if row["score"] >= bird_run.HELD]
    assert proposed["heads"] == (held or [proposed["ranking"][0]["head"]])
    assert proposed["proposed"]


def basis(samples, texts):
    """The reference algorithm's picks, and the share of variance that each of them adds."""
    rebuilt = [oracle.textspan(samples, texts, 32, n)[1] for n in range(1, STEPS + 1)]
    total = np.square(samples - samples.mean(0)).sum()
    explained = [1 - np.square(samples - some).sum() / total for some in rebuilt]
    return oracle.textspan(samples, texts, 32, STEPS)[0], np.diff(explained, prepend=0)


def test_figures(run, tmp_path):
    # As many sets as above, so that nothing compiles again.
    options = ("--label", "bird", "--heads", "4.0,5.1", "--draws", "6", "--format", "svg", "pdf")
    assert status("debias", run, *options, "--out", tmp_path / "out") == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"{name}.{suffix}" for name in ("groups", "curve") for suffix in ("svg", "pdf")
    } | {"results.json"}


def test_figures_of_proposals_are_pictures(proposed, tmp_path_factory):
    folder = next(tmp_path_factory.getbasetemp().glob("debias*/proposed"))
    for name in ("groups", "curve", "ranking"):
        with Image.open(folder / f"{name}.png") as figure:
            assert min(figure.size) > 300


def test_what_is_printed_shows_chosen_heads_wherever_they_stand_and_how_many_images_a_group_has(given, capsys):
    ranking = [{"head": f"5.{i}", "score": 0.5, "basis": 0.5, "variance": 0.5, "size": 0.01} for i in range(16)]
    print_debias(given | {"property": "scenery", "ranking": ranking, "heads": ["5.1", "5.14"]})
    lines = [line.split() for line in capsys.readouterr().err.splitlines()]
    shown = [line for line in lines if line[0].startswith("5.")]
    assert [line[0] for line in shown] == [*(f"5.{i}" for i in range(12)), "5.14"]
    assert [line[0] for line in shown if line[-1] == "chosen"] == ["5.1", "5.14"]
    group, found = next(iter(given["before"]["groups"].items()))
    (row,) = [line for line in lines if line[0] == group]
    assert row[1:3] == [str(found["n_images"]), f"{found['accuracy']:.1%}"]


def test_chosen_heads_have_marks_of_their_own_beside_the_curve_of_the_ranking(given):
    points = {}
    for ranking in ([], [{"head": "5.0"}]):
        (axis,) = curve_figure(given | {"ranking": ranking}).axes
        marks = [line for line in axis.lines if line.get_marker() == "D"]
        points[bool(ranking)] = {(*line.get_xdata(), *line.get_ydata()) for line in marks}
    assert points == {False: set(), True: {(2, given["after"][what]) for what in ("worst_group", "overall")}}


def test_means_of_a_run_without_a_bank_are_over_all_its_images(run, held_out, tmp_path):
    bare = jaxclip.open_run(with_info(held_out, tmp_path / "bare", "options", bank=False))
    opened = jaxclip.open_run(run)
    means = group_means(opened, bare, ("bird", "group"))
    assert np.array_equal(means.heads, ablation_means(opened, bare).heads)
    assert not np.allclose(means.heads, group_means(opened, jaxclip.open_run(held_out), ("bird", "group")).heads)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--property", "background"), "has no label 'label'; it has background"),
        (("--label", "bird", "--groups", "nobody", "--heads", "5.0"), "no labels of kind 'nobody'"),
        (("--label", "relation", "--heads", "5.0"), "has both a relation and a group"),
        (("--label", "bird", "--property", "mood"), "no texts about 'mood'; it has background"),
        (("--label", "bird"), "--property, or --heads"),
        (("--label", "bird", "--heads", "6.0"), "no head 6.0 in a model of 6 layers of 4 heads"),
        (("--label", "bird", "--heads", "five"), "layer.head"),
        (("--label", "bird", "--heads", "0.0,1.0,2.0,3.0,4.0", "--late", "1"), "--late 1, which have 4"),
        (("--label", "bird", "--heads", "5.0", "--late", "7"), "late must be 1 to 6"),
        (("--label", "bird", "--property", "background", "--top", "17"), "top must be 1 to 16"),
        (("--label", "bird", "--property", "background", "--steps", "33"), "between 1 and the rank, 32; got 33"),
        (("--label", "bird", "--heads", "5.0", "--draws", "0"), "--draws must be at least 1; got 0"),
        (
            ("--label", "bird", "--heads", "5.0", "--classes", "{tmp}/one.txt"),
            "1 class, but bird has 2 values",
        ),
        (("--label", "bird", "--heads", "5.0", "--means-from", "{tmp}/other"), "same model"),
        (("--label", "bird", "--heads", "5.0", "--means-from", "{tmp}/nowhere"), "nowhere is no run"),
        (("--label", "bird", "--property", "x", "--property-texts", "{tmp}/none.txt"), "there is no file"),
        (("--label", "bird", "--heads", "5.0", "--model", "{tmp}/nowhere"), "nowhere"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(run, held_out, tmp_path, capsys, options, said):
    (tmp_path / "one.txt").write_text("duck\n")
    if "{tmp}/other" in options:
        with_info(held_out, tmp_path / "other", "model", hash="0")
    filled = [option.format(tmp=tmp_path) for option in options]
    assert status("debias", run, *filled, "--out", tmp_path / "out") == 1
    assert said in only_line(capsys.readouterr())
    assert not (tmp_path / "out").exists()


def test_a_run_without_a_bank_is_told_how_to_make_one(run, tmp_path, capsys):
    shutil.copytree(run, tmp_path / "bare", ignore=shutil.ignore_patterns("bank"))
    assert status("debias", tmp_path / "bare", "--label", "bird", "--heads", "5.0", "--out", tmp_path / "out") == 1
    assert "--bank" in only_line(capsys.readouterr())
