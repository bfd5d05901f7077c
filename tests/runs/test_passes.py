"""A pass over a data set leaves exactly what the tower says of each image."""

from dataclasses import replace

import jax
import numpy as np
import pytest
import small_pass
import tensorstore as ts
from PIL import Image
from small_pass import BATCH

from jaxclip.data.open_data import open_data
from jaxclip.runs import run_pass as passes
from jaxclip.runs import step
from jaxclip.runs.run_pass import PassOptions, run_pass


@pytest.fixture(scope="module")
def clip():
    return small_pass.clip()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return open_data(small_pass.pictures(tmp_path_factory.getbasetemp()))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return small_pass.run(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_pass.pictures(tmp_path_factory.getbasetemp()).parent


@pytest.fixture(scope="module")
def expected(clip, run, folder):
    """The readable images' terms in float64, from the tower's own decomposition of one image after another."""
    terms = []
    for row in run.rows:
        embedding, contributions = clip.vision(clip.preprocess(folder / run.names[row]), detail="full")
        values = {
            "heads": contributions.reduce("head").attn, "mlp": contributions.mlp, "init": contributions.init,
            "class_attn": contributions.attn[:, :, :, 0].sum(2), "embedding": embedding,
        }  # fmt: skip
        norm = np.linalg.norm(np.float64(embedding))
        terms.append({kind: np.float64(value[0]) / norm for kind, value in values.items()} | {"norm": norm})
    return {kind: np.stack([term[kind] for term in terms]) for kind in terms[0]}


def test_names_labels_and_what_could_not_be_read(run, folder):
    rows = [line.split(",") for line in (folder / "list.csv").read_text().splitlines()[1:]]
    assert run.names == [row[0] for row in rows]
    assert (run.n_images, len(run.bank), run.rows.tolist()) == (19, 21, [n for n in range(21) if n not in (3, 11)])
    np.testing.assert_array_equal(run.labels["label"], [int(row[1] or -1) for row in rows])
    groups = [run.label_names["group"][index] for index in run.labels["group"]]
    assert groups == [row[2] for row in rows]
    for kind in ("label", "group"):
        np.testing.assert_array_equal(run.bank.labels(kind), run.labels[kind])
    assert run.labelled("label", "group").tolist() == [n for n in range(21) if n not in (3, 5, 11)]
    assert list(run.errors) == [3, 11]
    assert [name for name, _ in run.unreadable] == [rows[3][0], rows[11][0]]
    assert "no image that Pillow can read" in run.unreadable[0][1]
    assert "no such file" in run.unreadable[1][1]


def test_the_bank_holds_every_contribution(run, expected):
    contributions = np.einsum("blhu,lhue->blhe", run.bank.read("heads", run.rows), run.matrices)
    np.testing.assert_allclose(contributions, expected["heads"], rtol=0, atol=1e-6)
    for name in ("mlp", "init", "class_attn", "embedding"):
        np.testing.assert_allclose(run.bank.read(name)[run.rows], expected[name], rtol=0, atol=1e-6)
        assert np.isnan(run.bank.read(name)[[3, 11]]).all()
    np.testing.assert_allclose(run.bank.read("norm", run.rows), expected["norm"], rtol=1e-6)
    np.testing.assert_array_equal(run.bank.head(2, 1), run.bank.read("heads")[:, 2, 1])
    np.testing.assert_array_equal(run.bank.read("mlp", np.array([7, 2])), run.bank.read("mlp")[[7, 2]])


def bytes_read():
    found = ts.experimental_collect_matching_metrics("/tensorstore/kvstore/file/bytes_read")
    return sum(value["value"] for metric in found for value in metric["values"])


def test_one_head_of_all_images_is_read_without_the_others(run):
    before = bytes_read()
    own = run.bank.head(2, 1)
    one = bytes_read() - before
    run.bank.read("heads")
    whole = bytes_read() - before - one
    n_heads = run.config.vision.n_layers * run.config.vision.n_heads
    # Beside its own piece of a file, where the pieces of that file lie: 16 bytes for each of them, and metadata.
    assert own.nbytes <= one < whole / n_heads + 16 * n_heads + 2000
    assert one < whole / 4


def test_the_state_of_images_sums_to_their_embedding(run):
    state = run.head_state(slice(4, 9))
    total = state.contributions(run.matrices).total()
    np.testing.assert_allclose(total, state.embedding, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(state.embedding, run.bank.read("embedding")[4:9])


def check_moments(moments, samples):
    """A stack of moments against NumPy's of samples [n, *stack, e]."""
    samples = np.moveaxis(samples, 0, -2)
    np.testing.assert_allclose(moments.mean, samples.mean(-2), rtol=0, atol=1e-6)
    centred = samples - samples.mean(-2, keepdims=True)
    covariance = np.einsum("...ne,...nf->...ef", centred, centred) / samples.shape[-2]
    np.testing.assert_allclose(moments.covariance, covariance, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(moments.count, samples.shape[-2])


@pytest.mark.parametrize("component", ["heads", "mlp", "init", "class_attn", "embedding"])
def test_moments_are_those_of_the_contributions(run, expected, component):
    check_moments(getattr(run.moments, component), expected[component])


@pytest.mark.parametrize("component", ["heads", "mlp", "init"])
@pytest.mark.parametrize("kind", ["label", "group"])
def test_moments_by_label_are_those_of_its_images(run, expected, component, kind):
    for value, name in enumerate(run.label_names[kind]):
        chosen = run.labels[kind][run.rows] == value
        assert 0 < chosen.sum() < run.n_images
        check_moments(getattr(run.moments_by(kind, name), component), expected[component][chosen])


def test_means_are_what_ablation_takes(run, expected):
    np.testing.assert_allclose(run.means().heads, expected["heads"].mean(0), rtol=0, atol=1e-6)
    np.testing.assert_allclose(run.means().total(), expected["embedding"].mean(0), rtol=0, atol=1e-6)


def test_raw_units_and_half_the_size(clip, source, expected, tmp_path):
    options = PassOptions(batch=BATCH, bank=True, bank_dtype="float16", units="raw")
    run = run_pass(clip, source, tmp_path / "run", options)
    raw = {name: x * expected["norm"].reshape(-1, *[1] * (x.ndim - 1)) for name, x in expected.items()}
    # float16 keeps 11 bits.
    np.testing.assert_allclose(run.bank.read("mlp", run.rows), raw["mlp"], rtol=2**-11, atol=1e-6)
    np.testing.assert_allclose(run.moments.mlp.mean, raw["mlp"].mean(0), rtol=0, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 21, 50])
def test_the_batch_size_changes_nothing_but_rounding(clip, source, run, tmp_path, batch):
    other = run_pass(clip, source, tmp_path / "run", PassOptions(batch=batch, bank=True))
    assert other.names == run.names
    np.testing.assert_allclose(other.bank.read("heads"), run.bank.read("heads"), rtol=0, atol=1e-5)
    np.testing.assert_allclose(other.moments.heads.covariance, run.moments.heads.covariance, rtol=0, atol=1e-6)


def test_one_program_serves_every_batch(clip, source, tmp_path):
    step.step.clear_cache()
    run_pass(clip, source, tmp_path / "run", PassOptions(batch=BATCH))
    assert step.step._cache_size() == 1


def test_what_a_pass_is_told_of_reading_reaches_the_reader(clip, source, tmp_path, monkeypatch):
    told = {}

    def batches(*arguments, **options):
        told.update(options)
        return reader(*arguments, **options)

    reader = passes.batches
    monkeypatch.setattr(passes, "batches", batches)
    options = PassOptions(batch=BATCH, apply_exif=True)
    run_pass(clip, source, tmp_path / "run", options, n_threads=3, decoding=0.5)
    assert (told["n_threads"], told["decoding"], told["apply_exif"]) == (3, 2**29, True)
    assert told["listing"].stored.n == 21


def test_no_image_can_be_read(clip, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"no image could be read, of 1 image; the first is a\.png"):
        run_pass(clip, open_data(tmp_path / "data"), tmp_path / "run")


def test_one_image(clip, tmp_path):
    (tmp_path / "data").mkdir()
    Image.new("RGB", (9, 9), (1, 2, 3)).save(tmp_path / "data" / "a.png")
    run = run_pass(clip, open_data(tmp_path / "data"), tmp_path / "run", PassOptions(bank=True))
    assert (run.n_images, float(run.moments.init.count)) == (1, 1)
    np.testing.assert_allclose(run.moments.embedding.mean, run.bank.read("embedding")[0], atol=1e-7)
    # Rounding of float32, squared.
    np.testing.assert_allclose(run.moments.heads.variance, 0, atol=1e-14)


def test_a_model_that_gives_nan_is_found_out(clip, source, tmp_path):
    broken = replace(clip, vision=jax.tree.map(lambda x: x * np.nan, clip.vision))
    with pytest.raises(ValueError, match="the model gives NaN"):
        run_pass(broken, source, tmp_path / "run", PassOptions(batch=BATCH))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 0}, "batch must be at least 1"),
        ({"moments": False}, "leaves nothing behind"),
        ({"moments": False, "bank": True, "by": ("label",)}, "asks for moments"),
        ({"units": "metres"}, "units must be one of normalized, raw"),
    ],
)
def test_options_that_make_no_sense(unchecked, options, message):
    with pytest.raises(ValueError, match=message):
        PassOptions(**options)


def test_groups_that_are_not_there(clip, source, tmp_path):
    with pytest.raises(ValueError, match="no labels of kind colour; it has label, group"):
        run_pass(clip, source, tmp_path / "run", PassOptions(by=("colour",)))
    folder = tmp_path / "bare"
    folder.mkdir()
    Image.new("RGB", (8, 8)).save(folder / "a.png")
    with pytest.raises(ValueError, match=r"it has none\. Labels come from a folder per class, or a \.csv"):
        PassOptions(by=("colour",)).check(open_data(folder))
