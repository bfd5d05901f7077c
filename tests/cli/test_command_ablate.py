"""`jaxclip ablate` over scenes: accuracies are those of sums written out in NumPy, from the bank alone."""

import json
import shutil

import jax
import numpy as np
import pytest
from command import only_line, scenes_run, status, with_info
from PIL import Image

import jaxclip
from jaxclip.analyses.textspan import head_bases
from jaxclip.data.scenes import CHECKPOINT, PROMPTS, prompts
from jaxclip.data.text_pools import scenes_pool
from jaxclip.runs.task import run_classes
from jaxclip.zeroshot import class_embeddings, fill_templates, text_embeddings

STEPS, LATE = 5, 3
KINDS = ("heads", "mlp", "class_attn", "init")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return scenes_run(tmp_path_factory.mktemp("runs") / "run", "--bank")


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Other images, whose means are others."""
    return scenes_run(tmp_path_factory.mktemp("runs") / "other", "--bank", "--split", "train", limit=20)


@pytest.fixture(scope="module")
def clip():
    return jaxclip.load(CHECKPOINT)


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    path = tmp_path_factory.mktemp("texts") / "pool.txt"
    path.write_text("\n".join(scenes_pool().texts[::4]))
    return path


@pytest.fixture(scope="module")
def written(run, other, pool, tmp_path_factory):
    """Shapes, with means of other images; the batch divides nothing."""
    out = tmp_path_factory.mktemp("ablation") / "out"
    options = ("--means-from", other, "--texts", pool, "--steps", STEPS, "--late", LATE, "--batch", 25)
    assert status("ablate", run, "--label", "shape", *options, "--heads", "5.2,5.3", "4.1", "--out", out) == 0
    return json.loads((out / "results.json").read_text()), out


def terms(folder):
    """Every image's terms in float64."""
    opened = jaxclip.open_run(folder)
    held = {kind: np.float64(opened.bank.read(kind)) for kind in KINDS}
    held["heads"] = np.einsum("blhu,lhue->blhe", held["heads"], np.float64(opened.matrices))
    return held


class Reference:
    """Embeddings with terms replaced, written out, and how far each image's own class is ahead of the next."""

    def __init__(self, run, means, classes, labels):
        rows = np.flatnonzero(labels >= 0)
        self.terms = {kind: values[rows] for kind, values in terms(run).items()}
        self.means = {kind: values.mean(0) for kind, values in terms(means).items()}
        self.classes, self.labels = np.float64(classes), labels[rows]

    def agrees(self, accuracy, heads=(), mlps=False, class_attn=False, late=None):
        """Whether an accuracy is this one, images whose first two classes are closer than float32 tells left open."""
        attn = self.terms["heads"].copy()
        for place in heads:
            attn[(slice(None), *place)] = self.means["heads"][place]
        if late is not None:
            attn[:, -late.shape[1] :] = late
        init, mlp = (self.means if mlps in parts else self.terms for parts in ((True,), (True, "alone")))
        total = attn.sum((1, 2)) + init["init"] + mlp["mlp"].sum(-2)
        if class_attn:
            total = total + (self.means["class_attn"] - self.terms["class_attn"]).sum(1)
        scores = total @ self.classes.T
        own = np.take_along_axis(scores, self.labels[:, None], 1)
        np.put_along_axis(scores, self.labels[:, None], -np.inf, 1)
        lead = own[:, 0] - scores.max(1)
        return (lead > 1e-5).mean() - 1e-6 <= accuracy <= (lead > -1e-5).mean() + 1e-6


@pytest.fixture(scope="module")
def reference(run, other, clip):
    labels = run_classes(jaxclip.open_run(run), "shape").labels
    return Reference(run, other, class_embeddings(clip, prompts("shape")), labels)


def test_whole_parts_of_the_model(written, reference):
    result, _ = written
    assert result["n_images"] == len(reference.labels)
    assert result["classes"] == list(PROMPTS["shape"][1])
    assert result["chance"] == 1 / 8
    assert reference.agrees(result["accuracy"])
    assert reference.agrees(result["mlps_and_input"], mlps=True)
    assert reference.agrees(result["mlps_alone"], mlps="alone")
    assert reference.agrees(result["class_attn"], class_attn=True)
    assert reference.agrees(result["both"], mlps=True, class_attn=True)
    for n, accuracy in enumerate(result["attention_layers"]):
        assert reference.agrees(accuracy, heads=[(layer, head) for layer in range(n) for head in range(4)])


def test_single_heads_and_chosen_sets(written, reference):
    result, _ = written
    assert np.shape(result["heads"]) == (6, 4)
    for place, accuracy in np.ndenumerate(result["heads"]):
        assert reference.agrees(accuracy, heads=[place])
    assert [one["heads"] for one in result["sets"]] == [["5.2", "5.3"], ["4.1"]]
    assert reference.agrees(result["sets"][0]["accuracy"], heads=[(5, 2), (5, 3)])
    assert result["sets"][1]["accuracy"] == result["heads"][4][1]


def test_late_heads_from_few_texts(run, pool, clip, written, reference):
    found = written[0]["completeness"]
    assert (found["n_texts"], found["late_layers"]) == (list(range(STEPS + 1)), LATE)
    opened = jaxclip.open_run(run)
    late_moments = jax.tree.map(lambda x: x[-LATE:], opened.moments.heads)
    bases = head_bases(late_moments, text_embeddings(clip, pool.read_text().splitlines()), steps=STEPS)
    means = terms(run)["heads"].mean(0)[-LATE:]
    apart, axes = reference.terms["heads"][:, -LATE:] - means, np.float64(bases.directions)
    early = [(layer, head) for layer in range(6 - LATE) for head in range(4)]
    for m in found["n_texts"]:
        kept = axes[:, :, :m]
        late = means + np.einsum("blhe,lhie,lhif->blhf", apart, kept, kept)
        assert reference.agrees(found["mlps_kept"]["accuracy"][m], early, late=late)
        assert reference.agrees(found["mlps_and_input_ablated"]["accuracy"][m], early, mlps=True, late=late)
    assert reference.agrees(found["mlps_kept"]["heads_intact"], early)
    assert reference.agrees(found["mlps_and_input_ablated"]["heads_intact"], early, mlps=True)


def test_figures(written):
    for name in ("layers", "heads", "completeness"):
        with Image.open(written[1] / f"{name}.png") as figure:
            assert min(figure.size) > 300


def test_own_classes_templates_and_means(run, clip, tmp_path, capsys):
    names, ways = [f"a {name} thing" for name in PROMPTS["colour"][1]], ["{}", "a photo of {}"]
    (tmp_path / "classes.txt").write_text("\n".join(names))
    (tmp_path / "templates.txt").write_text("\n".join([*ways, ""]))
    files = ("--classes", tmp_path / "classes.txt", "--templates", tmp_path / "templates.txt")
    arguments = ("--label", "colour", *files, "--no-completeness", "--out", tmp_path / "out", "--json")
    assert status("ablate", run, *arguments) == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert result == json.loads((tmp_path / "out" / "results.json").read_text())
    assert f"{result['accuracy']:.1%}" in printed.err
    assert result["classes"] == names
    assert "completeness" not in result
    labels = run_classes(jaxclip.open_run(run), "colour").labels
    reference = Reference(run, run, class_embeddings(clip, fill_templates(names, ways)), labels)
    assert reference.agrees(result["accuracy"])
    assert reference.agrees(result["mlps_and_input"], mlps=True)
    assert reference.agrees(result["mlps_alone"], mlps="alone")
    for words in ("MLPs and input", "MLPs alone"):
        assert words in printed.err
    assert reference.agrees(result["heads"][5][1], heads=[(5, 1)])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "has no label 'label'; it has background, shape"),
        (("--label", "shape", "--heads", "5.2;5.3"), "such as 5.2,5.3; got '5.2;5.3'"),
        (("--label", "shape", "--heads", "5.2", "6.0"), "there is no head 6.0"),
        (("--label", "shape", "--late", "7"), "late must be 1 to 6"),
        (("--label", "shape", "--batch", "0"), "--batch must be at least 1; got 0"),
        (("--label", "shape", "--steps", "33"), "steps must be between 1 and the rank, 32"),
        (("--label", "shape", "--classes", "{tmp}/few.txt"), "has 2 classes, but shape has 8 values (circle,"),
        (("--label", "bird", "--classes", "{tmp}/twice.txt"), "has 'duck' more than once"),
        (("--label", "bird", "--classes", "{tmp}/gap.txt"), "line 2 is empty"),
        (("--label", "bird", "--classes", "{tmp}/none.txt"), "there is no file"),
        (("--label", "bird", "--templates", "{tmp}/few.txt"), "where the class is to stand; got ['one', 'two']"),
        (("--label", "bird", "--texts", "{tmp}/none.txt"), "there is no file"),
        (("--label", "bird", "--means-from", "{tmp}"), "is no run"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(run, tmp_path, capsys, options, said):
    (tmp_path / "few.txt").write_text("one\ntwo\n")
    (tmp_path / "twice.txt").write_text("duck\nduck\n")
    (tmp_path / "gap.txt").write_text("duck\n\nfinch\n")
    filled = [part.replace("{tmp}", str(tmp_path)) for part in options]
    assert status("ablate", run, "--out", tmp_path / "out", *filled) == 1
    assert said in only_line(capsys.readouterr())
    assert not (tmp_path / "out").exists()


def test_default_words_and_shipped_templates(run, tmp_path):
    opened = jaxclip.open_run(run)
    groups = run_classes(opened, "group")
    assert groups.prompts[0] == ["a photo of a duck on water."]
    assert run_classes(opened, "shape", templates="general").prompts[0][0] == "a photo of a circle."
    assert len(run_classes(opened, "shape", templates="general").prompts[0]) > 10
    # Another data set's two names for one of its kinds that has two.
    birds = with_info(run, tmp_path / "birds", "data", kind="waterbirds", label_names={"bird": ["land", "water"]})
    assert run_classes(jaxclip.open_run(birds), "bird").prompts == [["a photo of a forest."], ["a photo of a lake."]]


def test_runs_that_cannot_serve(run, tmp_path, capsys):
    without = tmp_path / "without"
    shutil.copytree(run, without, ignore=shutil.ignore_patterns("bank"))
    weights = with_info(run, tmp_path / "weights", "model", hash="another")
    units = with_info(run, tmp_path / "units", "options", units="raw")
    for folder, options, said in (
        (without, (), "run `jaxclip run` with --bank"),
        (run, ("--means-from", weights), "means must come from the same model"),
        (run, ("--means-from", units), "means must be in the run's units"),
    ):
        assert status("ablate", folder, "--label", "shape", *options, "--out", tmp_path / "out") == 1
        assert said in only_line(capsys.readouterr())
    assert not (tmp_path / "out").exists()
