"""What the paper's released code computed, against what jaxclip computes: a trimmed copy here, the full set if there.

See tests/golden/README.md for what the files hold.
"""

from pathlib import Path

import numpy as np
import pytest

import jaxclip

COPY = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module", params=["copy", "full"])
def golden(request):
    """A folder of golden files and the checkpoint in it."""
    if request.param == "copy":
        return COPY, jaxclip.load(COPY)
    folder = request.getfixturevalue("shared") / "golden"
    return folder, jaxclip.load(folder)


def read(folder, name):
    with np.load(folder / f"{name}.npz") as file:
        return dict(file)


def decomposed(golden, **options):
    """The reference's arrays, and jaxclip's decomposition of the same images."""
    folder, clip = golden
    expected = read(folder, "contributions")
    images = read(folder, "images")["images"][: len(expected["embedding"])]
    # Stored channel first, as PyTorch takes them.
    return expected, *clip.vision(images.astype(np.float32).transpose(0, 2, 3, 1), **options)


def test_image_embeddings(golden):
    expected, embedding, _ = decomposed(golden)
    np.testing.assert_allclose(embedding, expected["embedding"], rtol=0, atol=1e-5)


def test_every_contribution_of_the_released_code(golden):
    expected, _, contributions = decomposed(golden, constants="spread")
    contributions = contributions.normalized()
    # The released code has tokens before heads, and puts init before the MLPs.
    by_head_and_token = expected["attn"].swapaxes(2, 3)
    mlps = np.concatenate([contributions.init[:, None], contributions.mlp], axis=1)
    np.testing.assert_allclose(contributions.attn, by_head_and_token, rtol=0, atol=1e-6)
    np.testing.assert_allclose(mlps, expected["mlp"], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("detail", "summed"), [("head", 2), ("token", (1, 3)), ("layer", (2, 3))])
def test_lower_details_are_its_sums(golden, detail, summed):
    expected, _, contributions = decomposed(golden, detail=detail, constants="spread")
    attn = expected["attn"].sum(summed, dtype=np.float64)
    np.testing.assert_allclose(contributions.normalized().attn, attn, rtol=0, atol=1e-6)


def test_text_embeddings(golden):
    folder, clip = golden
    expected = read(folder, "text")
    np.testing.assert_allclose(
        clip.encode_text(expected["tokens"].astype(np.int32)), expected["embedding"], rtol=0, atol=1e-5
    )


def test_another_vocabulary_without_a_tokenizer_loads_and_says_what_is_missing():
    with pytest.raises(ValueError, match="tokenizer"):
        jaxclip.load(COPY).tokenize("a photo of a cat")


def test_the_copy_is_small_and_cut_from_the_full_set(shared):
    assert sum(path.stat().st_size for path in COPY.iterdir()) < 4 * 2**20
    for path in COPY.glob("*.npz"):
        whole = read(shared / "golden", path.stem)
        for name, array in read(COPY, path.stem).items():
            np.testing.assert_array_equal(array, whole[name][: len(array)])
    for name in ("open_clip_config.json", "open_clip_model.safetensors"):
        assert (COPY / name).read_bytes() == (shared / "golden" / name).read_bytes()
