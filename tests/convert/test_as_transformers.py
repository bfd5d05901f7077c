"""A checkpoint in transformers' layout is prepared as transformers prepares it: the same pixels, the same token ids,
the same positions for another image size; one in OpenCLIP's layout is not."""

import gzip
import json
from importlib.resources import files

import numpy as np
import pytest
from parity import checkpoints
from PIL import Image

import jaxclip
from jaxclip import convert
from jaxclip.config import PreprocessConfig
from jaxclip.convert.formats.preprocess import huggingface_preprocess
from jaxclip.numerics.ops import resize_positions
from jaxclip.preprocess import preprocess, resize, shown
from jaxclip.tokenizer import ClipTokenizer, _clip_vocabulary, clean_text
from jaxclip.verify import own_library

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
TEXTS = [
    "a photo of a dog", "  A   Photo\tof\na DOG ", "caf\u00e9 and cafe\u0301", "AT&amp;T &lt;b&gt; &amp;amp;",
    "1 < 2 &amp;lt; 3",
    "don\u2019t \u201cquote\u201d", "na\u00efve \u0130stanbul stra\u00dfe", "\U0001f600 smile \u2764\ufe0f",
    "\uff21\uff22\uff23 full width", "\u00c3\u00a9 mojibake", "x" * 400, "1234 5.6%", "under_score_and-dash",
    "it's we'll they've", "\u65e5\u672c\u8a9e \ud55c\uad6d\uc5b4", "a\u200bb\u00adc", "tab\u0000nul", "!!!???...", "",
]  # fmt: skip


def transformers_processor(size):
    """transformers' own image processor on Pillow; its other one, on torchvision, rounds otherwise."""
    pytest.importorskip("transformers")
    with checkpoints.without_torchvision():
        named = "transformers.models.clip.image_processing_pil_clip"
        made = pytest.importorskip(named, reason="needs transformers with image processors on Pillow")
    return made.CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size, "width": size})


def theirs(processor, image):
    return processor(images=image, return_tensors="np")["pixel_values"].transpose(0, 2, 3, 1)


def config(size, library="transformers"):
    shape = {"size": (size, size), "mean": MEAN, "std": STD}
    return PreprocessConfig(**shape, interpolation="bicubic", resize_mode="shortest", library=library)


def modes():
    rng = np.random.default_rng(0)
    colour = Image.fromarray(rng.integers(0, 255, (70, 93, 3), np.uint8))
    alpha = colour.convert("RGBA")
    alpha.putalpha(Image.fromarray(rng.integers(0, 255, (70, 93), np.uint8)))
    palette, clear = colour.quantize(64), colour.quantize(32)
    clear.info["transparency"] = 3
    made = {"RGB": colour, "RGBA": alpha, "P": palette, "P with a clear colour": clear, "L": colour.convert("L"),
            "LA": alpha.convert("LA"), "1": colour.convert("1"), "CMYK": colour.convert("CMYK")}  # fmt: skip
    return made


@pytest.mark.parametrize("kind", list(modes()))
@pytest.mark.parametrize("size", [32, 33])
def test_pixels_of_every_mode(kind, size):
    image = modes()[kind]
    np.testing.assert_allclose(
        preprocess([image], config(size)), theirs(transformers_processor(size), image), rtol=0, atol=1e-6
    )


@pytest.mark.parametrize("kind", ["CLIP", "ViT", "Siglip"])
@pytest.mark.parametrize("crops", ["unsaid", True, False])
def test_what_a_processors_file_leaves_out_is_transformers_own_default(kind, crops):
    pytest.importorskip("transformers")
    named = f"transformers.models.{kind.lower()}.image_processing_pil_{kind.lower()}"
    with checkpoints.without_torchvision():
        module = pytest.importorskip(named, reason="needs transformers with image processors on Pillow")
    box = {"height": 32, "width": 32}
    fields = {"image_processor_type": f"{kind}ImageProcessor", "resample": 3, "image_mean": MEAN, "image_std": STD}
    # CLIP's crops by itself, the others do not: a square, then, which its own crop leaves as it is.
    fields["size"] = {"shortest_edge": 32} if kind == "CLIP" and crops is not False else box
    # Where nothing is cropped, another crop's size says nothing.
    fields["crop_size"] = box if kind == "CLIP" or crops is True else {"height": 24, "width": 24}
    if crops != "unsaid" and kind != "Siglip":
        fields["do_center_crop"] = crops
    image = modes()["RGB"]
    processor = getattr(module, f"{kind}ImageProcessorPil")
    given = {key: value for key, value in fields.items() if key != "image_processor_type"}
    found = preprocess([image], huggingface_preprocess(fields, (32, 32)))
    np.testing.assert_allclose(found, theirs(processor(**given), image), rtol=0, atol=1e-6)


@pytest.mark.parametrize("excess", range(8))
@pytest.mark.parametrize("tall", [False, True])
def test_the_crop_is_rounded_as_theirs(excess, tall):
    shape = (64, 64 + excess, 3) if not tall else (64 + excess, 64, 3)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, shape, np.uint8))
    ours = preprocess([image], config(64))
    np.testing.assert_allclose(ours, theirs(transformers_processor(64), image), rtol=0, atol=1e-6)
    if excess % 4 == 3:  # a half, which OpenCLIP rounds to the even number and transformers down
        assert np.abs(ours - preprocess([image], config(64, "open_clip"))).max() > 0.1


def test_pixels_of_photographs(shared):
    processor = transformers_processor(64)
    for path in sorted((shared / "photos").glob("*.JPEG"))[::6]:
        image = Image.open(path)
        np.testing.assert_allclose(
            preprocess([path], config(64)), theirs(processor, image), rtol=0, atol=1e-6, err_msg=path.name
        )


def test_figures_and_windows_have_the_colours_of_the_model():
    image = modes()["RGBA"]
    on_white = Image.alpha_composite(Image.new("RGBA", image.size, (255,) * 4), image).convert("RGB")
    np.testing.assert_array_equal(shown(image, config(32)), np.asarray(on_white))
    np.testing.assert_array_equal(
        resize(image, (40, 50), config(32)), np.asarray(on_white.resize((50, 40), Image.Resampling.BICUBIC))
    )


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_ids_of_awkward_texts(text):
    transformers = pytest.importorskip("transformers")
    names = [*_clip_vocabulary()[2][:-2], "<|startoftext|>", "<|endoftext|>"]
    packed = (files("jaxclip") / "bpe" / "clip_merges.txt.gz").read_bytes()
    merges = [tuple(line.split(" ")) for line in gzip.decompress(packed).decode().splitlines()]
    backend = transformers.CLIPTokenizer(vocab={name: i for i, name in enumerate(names)}, merges=merges)
    wanted = backend([text], max_length=77, truncation=True)["input_ids"][0]
    got = ClipTokenizer(clean="transformers")([text])[0]
    assert got[: len(wanted)].tolist() == wanted


def test_nothing_is_repaired_for_files_of_their_own():
    assert clean_text("  &amp; \u00c3\u00a9 ", "none") == "  &amp; \u00c3\u00a9 "
    assert clean_text("  &amp; \u00c3\u00a9 ", "transformers") == "&amp; \u00e3\u00a9"


@pytest.mark.parametrize(("old", "new"), [((4, 4), (7, 7)), ((7, 7), (4, 6)), ((3, 5), (8, 2))])
def test_positions_are_interpolated_as_torch_does(old, new):
    torch = pytest.importorskip("torch")
    grid = np.random.default_rng(0).standard_normal((1 + old[0] * old[1], 6)).astype(np.float32)
    patches = torch.tensor(grid[1:]).reshape(1, *old, 6).permute(0, 3, 1, 2)
    wanted = torch.nn.functional.interpolate(patches, new, mode="bicubic", align_corners=False)
    ours = np.asarray(resize_positions(grid, old, new, "transformers"))
    np.testing.assert_array_equal(ours[0], grid[0])
    np.testing.assert_allclose(ours[1:], wanted.permute(0, 2, 3, 1).reshape(-1, 6).numpy(), rtol=0, atol=1e-5)


def test_a_folder_of_theirs_says_so_and_keeps_it(tmp_path):
    pytest.importorskip("transformers")
    pytest.importorskip("torch")
    checkpoints.make_hf(tmp_path / "hf")
    out = convert.convert(tmp_path / "hf", tmp_path / "model")
    clip = jaxclip.load(out)
    assert clip.config.preprocess.library == "transformers"
    said = json.loads((out / "provenance.json").read_text())["options"]
    assert said["library"]["value"] == "transformers"
    # A mapping that is passed says how, and not whose way.
    passed = {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"}
    assert convert.read(tmp_path / "hf", preprocess=passed)[0].preprocess.library == "transformers"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image_processor_type": "BlipImageProcessor"}, "BlipImageProcessor"),
        ({"size": {"shortest_edge": 32, "longest_edge": 64}}, "longest_edge"),
        ({"do_pad": True, "pad_size": {"height": 40, "width": 40}}, "pads to"),
    ],
)
def test_what_their_processor_does_and_this_one_does_not_is_refused(tmp_path, changes, said):
    pytest.importorskip("transformers")
    pytest.importorskip("torch")
    checkpoints.make_hf(tmp_path / "hf")
    path = tmp_path / "hf" / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(convert.CheckpointError, match=said):
        convert.read(tmp_path / "hf")


BOX = {"height": 32, "width": 32}
SILENT = {
    "as it is": {}, "size a number": {"size": 32, "crop_size": 32}, "height and width": {"size": BOX},
    "a list": {"size": [32, 32], "do_center_crop": False}, "square": {"size": 32, "default_to_square": True},
    "no longest": {"size": {"shortest_edge": 32, "longest_edge": None}}, "nearest": {"resample": 0},
    "bilinear": {"resample": 2}, "lanczos": {"resample": 1}, "box": {"resample": 4}, "hamming": {"resample": 5},
    "resize null": {"do_resize": None}, "crop null": {"do_center_crop": None}, "rescale null": {"do_rescale": None},
    "normalize null": {"do_normalize": None}, "crop size null": {"size": BOX, "crop_size": None},
    "crop size absent": {"size": BOX, "crop_size": ...}, "crop absent": {"do_center_crop": ...},
    "resize off": {"do_resize": False}, "rounded scale": {"rescale_factor": 0.003922},
    "scale": {"rescale_factor": 0.00392156863}, "RGB off": {"do_convert_rgb": False},
    "RGB null": {"do_convert_rgb": None}, "mean of two": {"image_mean": [0.1, 0.2]},
    "mean a number": {"image_mean": 0.5}, "larger": {"size": {"shortest_edge": 36}},
    "smaller": {"size": {"shortest_edge": 28}},
    "an older file": {"image_processor_type": ..., "feature_extractor_type": "ViTFeatureExtractor", "size": 32},
    **{kind: {"image_processor_type": f"{kind}ImageProcessor", "size": BOX, "do_center_crop": ..., "crop_size": ...,
              "do_convert_rgb": ...} for kind in ("CLIP", "Bit", "ViT", "Siglip", "ConvNext", "DeiT", "Blip")},
}  # fmt: skip
"""What a preprocessor_config.json may say beside `make_hf`'s; ... takes the key away."""


@pytest.mark.parametrize("case", list(SILENT))
def test_a_processors_file_is_read_as_theirs_or_refused(case, tmp_path):
    """Whatever is taken gives their pixels of every picture that they take."""
    pytest.importorskip("transformers")
    fields = {
        "do_resize": True, "size": {"shortest_edge": 32}, "resample": 3, "do_center_crop": True,
        "crop_size": {"height": 32, "width": 32}, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
        "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "do_convert_rgb": True,
        "image_processor_type": "CLIPImageProcessor",
    }  # fmt: skip
    fields = {key: value for key, value in {**fields, **SILENT[case]}.items() if value is not ...}
    try:
        ours = huggingface_preprocess(fields, (32, 32))
    except convert.CheckpointError:
        assert case not in ("as it is", "scale", "RGB off", "an older file", "ViT")
        return
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(fields))
    with checkpoints.without_torchvision():
        processor = own_library._processor(tmp_path)
    compared = 0
    for image in modes().values():
        try:
            wanted = theirs(processor, image)
        except ValueError:  # without conversion they take RGB alone
            assert image.mode != "RGB"
            continue
        np.testing.assert_allclose(preprocess([image], ours), wanted, rtol=0, atol=1e-5)
        compared += 1
    assert compared


def test_what_an_export_to_open_clip_cannot_say_is_said(open_clip, tmp_path):
    checkpoints.make_hf(tmp_path / "hf")
    config, params, _, _ = convert.read(tmp_path / "hf")
    with pytest.warns(UserWarning, match="prepared as transformers does, which OpenCLIP's format cannot say"):
        convert.export_openclip(params, config, tmp_path / "out")
    assert convert.read(tmp_path / "out")[0].preprocess.library == "open_clip"


@pytest.mark.parametrize("asked", [None, 48])
def test_positions_are_told_as_they_are_resized(open_clip, tmp_path, asked):
    checkpoints.make_hf(tmp_path / "hf")
    said = convert.read(tmp_path / "hf", image_size=asked)[3]["options"]
    assert ("position_embedding" in said) == (asked == 48)
    if asked:
        assert said["position_embedding"]["why"].endswith("bicubic without antialias, as transformers does")


@pytest.mark.parametrize("dropped", ["config.json", "open_clip_config.json"])
def test_the_weights_say_whose_way_a_checkpoint_goes_and_not_what_describes_it(open_clip, tmp_path, dropped):
    """A folder with both libraries' descriptions goes one way whichever of the two is lost, and a lone one is told."""
    folder = tmp_path / "hf"
    checkpoints.make_hf(folder)
    fitting = checkpoints.config(quick_gelu=True, vision_mlp_ratio=2.0834, vision_head_width=8, text_mlp_ratio=2.5)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": fitting}))
    (folder / dropped).unlink()
    if dropped == "config.json":
        with pytest.warns(UserWarning, match="names, but no config.json is beside them"):
            config = convert.read(folder)[0]
    else:
        config = convert.read(folder)[0]
    assert config.preprocess.library == "transformers" == convert.describe(folder).config.preprocess.library


def test_weights_of_open_clip_described_by_transformers_go_open_clips_way(open_clip, tmp_path):
    """As they were trained: pixels, and texts through the tokenizer's files."""
    folder = tmp_path / "model"
    checkpoints.make_hf(folder)
    (folder / "model.safetensors").unlink()
    fitting = checkpoints.config(quick_gelu=True, vision_mlp_ratio=2.0834, vision_head_width=8, text_mlp_ratio=2.5)
    checkpoints.make_openclip(folder, fitting)
    (folder / "open_clip_config.json").unlink()
    with pytest.warns(UserWarning, match=r"by config\.json: its weights have OpenCLIP's names"):
        config, _, _, provenance = convert.read(folder)
    assert config.preprocess.library == "open_clip" == provenance["options"]["library"]["value"]
    assert config == convert.describe(folder).config
    assert config.preprocess.mean == (0.1, 0.2, 0.3)


@pytest.mark.parametrize("kept", ["tokenizer.json", "vocab.json merges.txt", "vocab.json merges.txt classless"])
def test_a_tokenizer_whose_class_only_the_model_says_is_the_same_when_converted(open_clip, kept, tmp_path):
    """Its files go into a folder of their own, where no model lies beside them."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path / "hf"
    checkpoints.make_hf(folder)
    names = ["!", "<|startoftext|>", *"adog", *(f"{letter}</w>" for letter in "adog"), "do", "dog</w>"]
    names += [*(f"x{i}" for i in range(59 - len(names))), "<|endoftext|>"]
    vocab, merges = {name: i for i, name in enumerate(names)}, [("d", "o"), ("do", "g</w>")]
    if kept == "tokenizer.json":
        transformers.CLIPTokenizer(vocab=vocab, merges=merges).backend_tokenizer.save(str(folder / "tokenizer.json"))
    else:
        (folder / "vocab.json").write_text(json.dumps(vocab))
        (folder / "merges.txt").write_text("#version: 0.2\nd o\ndo g</w>\n")
    if kept.endswith("classless"):
        (folder / "tokenizer_config.json").write_text('{"model_max_length": 77}')
    texts = ["a dog", "good dog", ""]
    before = jaxclip.load(folder).tokenize(texts)
    assert before[0, :4].tolist() == [1, 6, 11, 59]
    made = convert.convert(folder, tmp_path / "model")
    np.testing.assert_array_equal(jaxclip.load(made).tokenize(texts), before)
