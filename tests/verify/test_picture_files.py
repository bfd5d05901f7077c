"""From the picture file to the embedding, against the library that a checkpoint was made for."""

import json
import shutil
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from parity import checkpoints
from PIL import Image

import jaxclip
from jaxclip import convert, verify
from jaxclip.verify import own_library, picture_files

BOTH = ("open_clip", "transformers")


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """A folder in transformers' layout with a tokenizer of CLIP's kind."""
    pytest.importorskip("torch")
    if find_spec("transformers.models.clip.image_processing_pil_clip") is None:
        pytest.skip("needs transformers with image processors on Pillow")
    folder = tmp_path_factory.mktemp("hf")
    checkpoints.make_hf(folder)
    letters = [*"adog", "</w>", *(f"{letter}</w>" for letter in "adog"), "do", "dog</w>"]
    names = ["!", "<|startoftext|>", *letters, *(f"x{i}" for i in range(57 - len(letters))), "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({name: i for i, name in enumerate(names)}))
    (folder / "merges.txt").write_text("#version: 0.2\nd o\ndo g</w>\n")
    fields = {"tokenizer_class": "CLIPTokenizer", "pad_token": "!", "model_max_length": 77}
    (folder / "tokenizer_config.json").write_text(json.dumps(fields))
    return folder


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    folder = tmp_path_factory.mktemp("open_clip") / "model"
    cfg = checkpoints.config(text_vocab_size=49408, text_context_length=20)
    checkpoints.make_openclip(folder, cfg, preprocess={"mean": 0.4, "interpolation": "bilinear"})
    return folder


def rows(source, files=(), there=BOTH):
    clip = jaxclip.load(source)
    with checkpoints.without_torchvision():
        checks, said = picture_files.against_libraries(clip, source, verify.probe_images(clip, 1), files, there)
    return {check.what: check for check in checks}, said


def test_a_folder_of_transformers_against_transformers(open_clip, theirs):
    checks, said = rows(theirs)
    assert [what for what in checks if "contributions" not in what] == [
        "image embedding, weights exported to open_clip", "text embedding, weights exported to open_clip",
        *(what for what in checks if what.startswith(("pixels of 13", "token ids of 15"))),
        "embedding of 13 picture files, transformers' own loading", "embedding of 15 texts, transformers' own loading",
    ]  # fmt: skip
    assert all(check.holds for check in checks.values()), checks
    assert len(said) == 1
    assert said[0].startswith("sixteen_bits.png has 16 bits a channel, which transformers")


def test_a_folder_of_open_clip_against_open_clip(open_clip, ours):
    checks, said = rows(ours, there=("open_clip",))
    assert [what for what in checks if "contributions" not in what][2:] == [
        f"pixels of 13 picture files, open_clip {open_clip.__version__}",
        f"token ids of 15 texts, open_clip {open_clip.__version__}",
        "embedding of 13 picture files, open_clip's own loading", "embedding of 15 texts, open_clip's own loading",
    ]  # fmt: skip
    assert all(check.holds for check in checks.values()), checks
    assert len(said) == 1


@pytest.mark.parametrize("kind", BOTH)
def test_the_other_librarys_way_is_found(open_clip, theirs, ours, kind, monkeypatch, tmp_path):
    """What this model did before it followed its library: every row that has to do with it is broken."""
    source = {"open_clip": ours, "transformers": theirs}[kind]
    other = {"open_clip": "transformers", "transformers": "open_clip"}[kind]
    clip = jaxclip.load(source)
    real = own_library.own_open_clip if kind == "open_clip" else own_library.own_transformers
    seen = []
    monkeypatch.setattr(picture_files, real.__name__, lambda *given: seen.append(real(*given)) or seen[0])
    with checkpoints.without_torchvision():
        picture_files.against_libraries(clip, source, verify.probe_images(clip, 1), (), BOTH)
        object.__setattr__(clip.config.preprocess, "library", other)
        if kind == "open_clip":
            object.__setattr__(clip.tokenizer, "clean", "transformers")
        files = picture_files.drawn_pictures(tmp_path, (32, 32))
        checks, _ = picture_files.compare_files(clip, seen[0], files)
    broken = [check.what.split(",")[0] for check in checks if not check.holds]
    assert "pixels of 13 picture files" in broken
    assert "embedding of 13 picture files" in broken
    assert ("token ids of 15 texts" in broken) == (kind == "open_clip")


def test_a_converted_folder_is_compared_with_what_it_was_made_of(open_clip, theirs, tmp_path):
    made = convert.convert(theirs, tmp_path / "made")
    assert own_library.origin(made) == theirs
    assert own_library.origin(convert.convert(theirs, tmp_path / "half", dtype="bfloat16")) == tmp_path / "half"
    assert own_library.origin(convert.convert(theirs, tmp_path / "large", image_size=48)) == tmp_path / "large"
    assert own_library.origin(theirs) == theirs
    other = tmp_path / "other"
    checkpoints.make_hf(other, seed=1)
    moved = convert.convert(other, tmp_path / "moved")
    checkpoints.make_hf(other, seed=2)
    assert own_library.origin(moved) == moved
    # Its settings and tokenizer are still tried in the library, and its weights in open_clip.
    checks, _ = rows(moved)
    pixels = next(what for what in checks if what.startswith("pixels"))
    assert pixels.endswith("given the settings that jaxclip has read")
    assert "embedding of 13 picture files, weights exported to open_clip" in checks
    assert all(check.holds for check in checks.values()), checks


def test_weights_that_transformers_would_make_up_are_not_compared(theirs, tmp_path):
    """It fills what it does not find with random numbers, and only warns."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(theirs, tmp_path / "hf")
    path = tmp_path / "hf" / "model.safetensors"
    save_file({f"module.{name}": tensor for name, tensor in load_file(path).items()}, path, {"format": "pt"})
    checks, _ = rows(tmp_path / "hf", there=("transformers",))
    assert [check.what.split(",")[0] for check in checks.values()] == [
        "pixels of 13 picture files", "token ids of 15 texts"
    ]  # fmt: skip


def test_named_files_are_compared_from_the_file_on(ours, open_clip, tmp_path):
    Image.fromarray(np.full((40, 60), 30000, np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(np.full((40, 60, 3), 30, np.uint8)).save(tmp_path / "plain.bmp")
    checks, said = rows(ours, [tmp_path / "deep.png", tmp_path / "plain.bmp"])
    assert any(what.startswith("pixels of 2 picture files") for what in checks)
    assert all(check.holds for check in checks.values()), checks
    assert "up to 138 levels apart" in said[0]  # 255 beside 30000 / 257
    (tmp_path / "no.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"no\.png: this is no image"):
        rows(ours, [tmp_path / "no.png"])


@pytest.mark.parametrize(
    ("library", "gone", "said"),
    [
        ("open_clip", ["torchvision"], "needs torch, torchvision, open_clip; torchvision missing here: pip install"),
        ("open_clip", ["open_clip", "torch"], "torch and open_clip missing here: pip install torch open_clip_torch"),
        ("transformers", ["torch"], "needs torch, transformers; torch missing here: pip install torch"),
        ("transformers", ["transformers"], "transformers missing here: pip install transformers"),
    ],
)
def test_what_is_missing_is_said_in_a_sentence(open_clip, monkeypatch, library, gone, said):
    """As where it is not installed: neither imported nor found."""
    hidden = [name for name in sys.modules if name.split(".")[0] in (*gone, library)]
    for name in hidden:
        monkeypatch.delitem(sys.modules, name)
    real = own_library.find_spec
    monkeypatch.setattr(own_library, "find_spec", lambda name: None if name in gone else real(name))
    monkeypatch.setattr(own_library, "import_module", lambda name: exec("raise ModuleNotFoundError(name)"))
    sentence = own_library.lacking(library)
    assert sentence is not None
    assert said in sentence


def test_a_broken_installation_is_no_missing_one(open_clip, monkeypatch):
    def broken(_name):
        raise RuntimeError("operator torchvision::nms does not exist\nTraceback ...")

    monkeypatch.setattr(own_library, "import_module", broken)
    sentence = own_library.lacking("open_clip")
    assert sentence is not None
    assert "cannot be imported (operator torchvision::nms does not exist): install versions" in sentence
