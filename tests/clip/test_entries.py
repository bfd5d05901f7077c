"""What people pass where arrays are wanted: taken where it can only mean one thing, or refused with what to pass."""

import numpy as np
import pytest
import small
import towers
from PIL import Image

import jaxclip
from jaxclip import Moments


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return jaxclip.load(small.export(tmp_path_factory.mktemp("small")))


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 256, (70, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_texts_are_encoded_as_strings_or_as_ids(clip):
    words = ["a star", "a circle"]
    ids = clip.tokenize(words)
    expected = np.asarray(clip.encode_text(ids))
    for texts in (words, tuple(words), ids.tolist(), [*ids]):
        np.testing.assert_array_equal(clip.encode_text(texts), expected)
    np.testing.assert_array_equal(clip.encode_text("a star"), clip.encode_text(["a star"]))
    assert np.linalg.norm(clip.encode_text("a star", normalize=True)) == pytest.approx(1, abs=1e-6)


def test_pictures_are_encoded_as_files_or_as_arrays(clip, photo):
    inputs = clip.preprocess([photo])
    expected = np.asarray(clip.encode_image(inputs))
    picture = Image.open(photo)
    pixels = np.asarray(picture)
    for images in (photo, str(photo), [photo], [str(photo)], picture, [picture], [photo.read_bytes()], pixels,
                   [pixels], pixels[None], [inputs[0]], list(inputs)):  # fmt: skip
        np.testing.assert_array_equal(clip.encode_image(images), expected)
    assert clip.encode_image([photo, picture]).shape == (2, 24)


def test_tensors_of_pytorch_are_arrays(clip, photo):
    torch = pytest.importorskip("torch")
    inputs, ids = clip.preprocess([photo]), clip.tokenize(["a star"])
    tensor = torch.from_numpy(inputs).requires_grad_()
    np.testing.assert_array_equal(clip.encode_image(tensor), clip.encode_image(inputs))
    np.testing.assert_array_equal(clip.encode_text(torch.from_numpy(ids)), clip.encode_text(ids))
    embedding, contributions = clip.vision(tensor, detail="head")
    np.testing.assert_array_equal(embedding, clip.vision(inputs, detail="head")[0])
    texts = clip.encode_text(["a star", "a circle"])
    ours, theirs = (contributions.project(some).attn for some in (texts, torch.from_numpy(np.array(texts))))
    np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(ValueError, match=r"images\.transpose\(0, 2, 3, 1\)"):
        clip.encode_image(tensor.permute(0, 3, 1, 2))


def test_one_direction_is_a_list_of_one(clip, photo):
    contributions = clip.vision(clip.preprocess(photo), detail="head")[1]
    texts = clip.encode_text(["a star", "a circle"])
    one = contributions.project(texts[1])
    assert one.attn.shape == (*contributions.attn.shape[:-1], 1)
    expected = np.asarray(contributions.total(), np.float64) @ np.asarray(texts[1], np.float64)
    np.testing.assert_allclose(one.total()[..., 0], expected, rtol=1e-5)


def test_samples_are_moments():
    rng = np.random.default_rng(0)
    samples, texts = (rng.standard_normal((n, 16)).astype(np.float32) for n in (40, 9))
    wanted = jaxclip.textspan(Moments.of(samples), texts, steps=3)
    for some, pool in ((samples, texts), ([*samples], [*texts]), (samples.tolist(), texts.tolist())):
        found = jaxclip.textspan(some, pool, steps=3)
        np.testing.assert_array_equal(found.indices, wanted.indices)
        np.testing.assert_array_equal(found.directions, wanted.directions)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda clip, photo: clip.vision(photo), "images must be an array of numbers; got PosixPath"),
        (lambda clip, photo: clip.vision([str(photo)]), "clip.encode_image takes those as they are"),
        (lambda clip, photo: clip.vision(np.asarray(Image.open(photo))), r"got \[70, 60, 3\].* clip.preprocess makes"),
        (lambda clip, photo: clip.vision.embed("photo.png"), "images must be an array of numbers; got str"),
        (lambda clip, photo: clip.text(["a star"]), "clip.encode_text takes strings too"),
        (lambda clip, photo: clip.encode_text([]), "pass at least one string"),
        (lambda clip, photo: clip.encode_text([[1, 2], [3]]), "tokens must be an array of numbers"),
        (lambda clip, photo: clip.encode_text([1, 2, 3]), r"tokens must be \[batch, at most .* got \[3\]"),
        (lambda clip, photo: clip.encode_text(["a star", 3]), "str"),
        (lambda clip, photo: clip.encode_text(None), "tokens must be an array of numbers; got NoneType"),
        (lambda clip, photo: clip.encode_image([]), "pass at least one image"),
        (lambda clip, photo: clip.encode_image("no.png"), "no.png"),
        (lambda clip, photo: terms(clip).project(["a star"]), "clip.encode_text makes them from strings"),
        (lambda clip, photo: terms(clip).project(np.zeros((2, 7), np.float32)), r"directions must be \[text, 24\]"),
        (lambda clip, photo: terms(clip).project(np.zeros((1, 2, 24), np.float32)), r"got \[1, 2, 24\]"),
        (lambda clip, photo: jaxclip.textspan(terms(clip).attn, np.zeros((2, 24))), r"contributions.attn\[:, layer"),
        (lambda clip, photo: jaxclip.textspan(np.zeros((2, 4), np.float32), ["a star"]), "clip.encode_text"),
        (lambda clip, photo: jaxclip.textspan("run", np.zeros((2, 4))), "samples must be an array of numbers; got str"),
        (lambda clip, photo: jaxclip.textspan(np.zeros(4, np.float32), np.zeros((2, 4))), r"samples must be \[n, emb"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_to_pass(unchecked, clip, photo, call, said):
    with pytest.raises((ValueError, FileNotFoundError), match=said):
        call(clip, photo)


def terms(clip):
    return clip.vision(towers.images(clip.config.vision, 2), detail="head")[1]
