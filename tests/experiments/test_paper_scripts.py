"""The paper's tables and figures on the scenes, end to end: the real thing's commands, with small limits."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxclip.data.scenes import CHECKPOINT, prompts
from jaxclip.runs.run import open_run

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
LIMIT = 40


@pytest.fixture(scope="module")
def scripts():
    """experiments/paper as its scripts see it; their modules are gone afterwards, for their names are common ones."""
    folder, before = str(EXPERIMENTS / "paper"), set(sys.modules)
    sys.path[:0] = [folder, str(EXPERIMENTS)]
    yield
    for name in set(sys.modules) - before:
        if str(EXPERIMENTS) in str(getattr(sys.modules[name], "__file__", "")):
            sys.modules.pop(name)
    for path in (folder, str(EXPERIMENTS)):
        while path in sys.path:
            sys.path.remove(path)


@pytest.fixture(scope="module")
def found(scripts, tmp_path_factory):
    """Everything that all.py measures, and where."""
    import all as everything

    out = tmp_path_factory.mktemp("paper")
    return everything.run(["--scenes", "--limit", str(LIMIT), "--batch", "20", "--out", str(out)]), out


def test_every_script_leaves_its_numbers_and_figures(found):
    values, out = found
    for script, models in values.items():
        assert json.loads((out / script / "results.json").read_text())["values"] == models
    folders = {path.parent.relative_to(out).parts[0] for path in out.rglob("*.png")}
    assert folders >= {
        "attention_layers", "text_bases", "completeness", "waterbirds", "retrieval", "head_patch_maps", "top_images",
    }  # fmt: skip
    assert (out / "text_bases" / "scenes" / "bases.md").is_file()
    assert all(0 <= value <= 100 for models in values.values() for some in models.values() for value in some.values())


def accuracies(run):
    """Per cent right with nothing, MLPs and init, and all attention replaced, in float64 from the bank."""
    import jaxclip
    from jaxclip.zeroshot import class_embeddings

    classes = np.asarray(class_embeddings(jaxclip.load(CHECKPOINT), prompts("shape")), np.float64)
    labels = run.labels["shape"]
    attn = np.einsum("blhu,lhue->be", run.bank.read("heads").astype(np.float64), np.asarray(run.matrices))
    rest = run.bank.read("init").astype(np.float64) + run.bank.read("mlp").astype(np.float64).sum(1)
    for embeddings in (attn + rest, attn + rest.mean(0), attn.mean(0) + rest):
        right = (embeddings @ classes.T).argmax(-1) == labels
        yield 100 * right[labels >= 0].mean()


def test_accuracies_are_those_of_the_sums(found):
    values, out = found
    [folder] = [path.parent for path in out.glob("runs/*_test_*/run.json")]
    nothing, mlps, attention = accuracies(open_run(folder))
    table, layers = values["mean_ablation"]["scenes"], values["attention_layers"]["scenes"]
    assert table["accuracy"] == pytest.approx(nothing)
    assert table["without MLPs and input"] == pytest.approx(mlps)
    assert layers["first 0 layers"] == pytest.approx(nothing)
    assert list(layers.values())[-1] == pytest.approx(attention)


def test_imagenets_own_layout_takes_the_same_command(scripts, tmp_path):
    """Labels from the development kit; a class is known by WordNet's word for it."""
    import mean_ablation
    from PIL import Image
    from scipy.io import savemat

    import jaxclip
    from jaxclip.data.scenes import scene
    from jaxclip.zeroshot import class_embeddings

    ids = ("n01440764", "n02099601", "n03126707")
    kit = np.array([(1, ids[2]), (2, ids[0]), (3, ids[1])], [("ILSVRC2012_ID", "i4"), ("WNID", "O")])
    savemat(tmp_path / "meta.mat", {"synsets": kit})
    (tmp_path / "ILSVRC2012_validation_ground_truth.txt").write_text("\n".join(str(i % 3 + 1) for i in range(20)))
    (tmp_path / "val").mkdir()
    for i in range(20):
        Image.fromarray(scene(0, "test", i)["image"]).save(tmp_path / "val" / f"ILSVRC2012_val_{i + 1:08d}.JPEG")
    values = mean_ablation.run(
        ["--models", "scenes", "--data", str(tmp_path / "val"), "--batch", "20", "--templates", "single", "--out",
         str(tmp_path / "out")]
    )["scenes"]  # fmt: skip
    [folder] = [path.parent for path in (tmp_path / "out").glob("runs/*/run.json")]
    words = ("a tench", "a golden retriever", "a construction crane")
    classes = class_embeddings(jaxclip.load(CHECKPOINT), [[f"a photo of {word}."] for word in words])
    truth = np.array([2, 0, 1])[np.arange(20) % 3]
    right = (open_run(folder).bank.read("embedding") @ np.asarray(classes).T).argmax(-1) == truth
    assert values["accuracy"] == pytest.approx(100 * right.mean())


def test_pools_start_alike_and_end_at_the_heads_themselves(found):
    """No texts leave means alone, whatever the pool; as many as a head has dimensions leave the head."""
    curves = found[0]["completeness"]["scenes"]
    for kind in ("MLPs kept", "MLPs and input replaced"):
        pools = [name.partition(": ")[2] for name in curves if name.startswith(f"{kind}, 0 texts")]
        assert pools == ["general", "class texts", "words", "random"]
        assert len({curves[f"{kind}, 0 texts: {pool}"] for pool in pools}) == 1
        assert curves[f"{kind}, 30 texts: general"] == pytest.approx(curves[f"{kind}, heads intact"], abs=10)


def test_ours_stand_beside_the_papers(scripts, found, tmp_path, capsys):
    from common import show

    show("title", {"accuracy": 91.5}, {"accuracy": 90.0, "misspelt": 1.0})
    said = capsys.readouterr().err
    assert all(word in said for word in ("91.50", "90.00", "+1.50", "misspelt"))
    show("title", {"accuracy": 91.5}, {})
    assert "give --paper" in capsys.readouterr().err


def test_cost_counts_the_products_of_a_pass(scripts, unchecked):
    """Two operations for each multiply-add of the tower's products, by their shapes; decomposing adds a little."""
    from cost import of_pass

    import jaxclip

    config = jaxclip.load(CHECKPOINT).config.vision
    width, tokens = config.width, config.n_tokens
    block = tokens * (4 * width**2 + 2 * width * config.mlp_dim) + 2 * tokens**2 * width
    patches = (tokens - 1) * 3 * np.prod(config.patch_size) * width
    expected = 2 * (config.n_layers * block + patches + width * config.embed_dim)
    found = of_pass(config, 10, 4)
    assert expected < found["flops"] < 1.2 * expected
    # embedding, its norm and init; MLPs and the class token's own by layer; heads in their coordinates
    row = 2 * config.embed_dim + 1 + config.n_layers * (2 * config.embed_dim + config.n_heads * (config.head_dim + 3))
    assert found["bank_bytes"] == 10 * 4 * row
