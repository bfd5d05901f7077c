"""Weights land where the mathematics expects them, in every layout, and nothing is used twice or left over."""

import json

import numpy as np
import pytest
from parity import checkpoints
from parity.checkpoints import CFG, OPTIONS, PREPROCESS

from jaxclip import convert
from jaxclip.convert import CheckpointError
from jaxclip.convert.apply import fill
from jaxclip.convert.export import openclip_config, state_dict
from jaxclip.convert.formats.openclip import OPENCLIP
from jaxclip.convert.readers.safetensors import open_safetensors, write_safetensors
from jaxclip.convert.sources import locate
from jaxclip.model.params import flatten, shapes, text_leaves, vision_leaves


def numpy_state(model):
    return {name: tensor.detach().float().numpy() for name, tensor in model.state_dict().items() if name != "attn_mask"}


def expected_block(state, blocks, layer, n_heads):
    """One block of the parameter tree by plain NumPy indexing, head by head: no einops, no rule table."""
    get = lambda name: state[f"{blocks}.{layer}.{name}"]  # noqa: E731
    width = get("ln_1.weight").shape[0]
    c = width // n_heads
    attn_in, attn_in_bias = np.empty((width, 3, n_heads, c)), np.empty((3, n_heads, c))
    attn_out = np.empty((n_heads, c, width))
    for slot in range(3):
        for head in range(n_heads):
            rows = slice(slot * width + head * c, slot * width + (head + 1) * c)
            attn_in[:, slot, head] = get("attn.in_proj_weight")[rows].T
            attn_in_bias[slot, head] = get("attn.in_proj_bias")[rows]
    for head in range(n_heads):
        attn_out[head] = get("attn.out_proj.weight")[:, head * c : (head + 1) * c].T
    found = {
        "attn_in.kernel": attn_in,
        "attn_in.bias": attn_in_bias,
        "attn_out.kernel": attn_out,
        "attn_out.bias": get("attn.out_proj.bias"),
        "mlp_in.kernel": get("mlp.c_fc.weight").T,
        "mlp_in.bias": get("mlp.c_fc.bias"),
        "mlp_out.kernel": get("mlp.c_proj.weight").T,
        "mlp_out.bias": get("mlp.c_proj.bias"),
    }
    for norm in ("ln_1", "ln_2"):
        found |= {f"{norm}.scale": get(f"{norm}.weight"), f"{norm}.bias": get(f"{norm}.bias")}
    if f"{blocks}.{layer}.ls_1.gamma" in state:
        found |= {"ls_1": get("ls_1.gamma"), "ls_2": get("ls_2.gamma")}
    return found


def expected_tree(state, config):
    """The whole tree from an OpenCLIP state dict, by plain NumPy."""
    text = "text." if "text.token_embedding.weight" in state else ""
    kernel = state["visual.conv1.weight"]
    found = {
        "vision.class_embedding": state["visual.class_embedding"],
        "vision.positional_embedding": state["visual.positional_embedding"],
        # A patch is read row by row, and its three colours side by side at each pixel.
        "vision.patch_embedding": np.stack([filter.transpose(1, 2, 0).ravel() for filter in kernel], axis=1),
        "vision.ln_post.scale": state["visual.ln_post.weight"],
        "vision.ln_post.bias": state["visual.ln_post.bias"],
        "vision.projection": state["visual.proj"],
        "text.token_embedding": state[f"{text}token_embedding.weight"],
        "text.positional_embedding": state[f"{text}positional_embedding"],
        "text.ln_final.scale": state[f"{text}ln_final.weight"],
        "text.ln_final.bias": state[f"{text}ln_final.bias"],
        "logit_scale": state["logit_scale"].reshape(()),
    }
    if "visual.ln_pre.weight" in state:
        found |= {f"vision.ln_pre.{ours}": state[f"visual.ln_pre.{name}"] for ours, name in NORM.items()}
    if f"{text}text_projection" in state:
        found["text.projection.kernel"] = state[f"{text}text_projection"]
    if f"{text}text_projection.weight" in state:
        found["text.projection.kernel"] = state[f"{text}text_projection.weight"].T
        found["text.projection.bias"] = state[f"{text}text_projection.bias"]
    if "logit_bias" in state:
        found["logit_bias"] = state["logit_bias"].reshape(())
    for tower, prefix, sizes in (("vision", "visual.", config.vision), ("text", text, config.text)):
        blocks = [
            expected_block(state, f"{prefix}transformer.resblocks", layer, sizes.n_heads)
            for layer in range(sizes.n_layers)
        ]
        found |= {f"{tower}.blocks.{path}": np.stack([block[path] for block in blocks]) for path in blocks[0]}
    return found


NORM = {"scale": "weight", "bias": "bias"}


def assert_same_tree(params, expected):
    found = dict(flatten(params))
    assert found.keys() == expected.keys()
    for path, array in found.items():
        np.testing.assert_array_equal(array, expected[path], err_msg=path)


@pytest.mark.parametrize("option", OPTIONS)
def test_every_number_of_an_openclip_checkpoint_lands_where_plain_numpy_puts_it(open_clip, tmp_path, option):
    model = checkpoints.make_openclip(tmp_path, OPTIONS[option])
    config, params, _, _ = convert.read(tmp_path)
    assert_same_tree(params, expected_tree(numpy_state(model), config))
    assert {path: array.shape for path, array in flatten(params)} == shapes(config, logit_bias=option == "logit_bias")


@pytest.mark.parametrize(("option", "prefix"), [("plain", ""), ("custom_text", "text.")])
def test_a_projection_that_is_a_layer_without_a_bias(open_clip, tmp_path, option, prefix):
    checkpoints.make_openclip(tmp_path, OPTIONS[option])
    expected = convert.read(tmp_path)[1]
    path = tmp_path / "open_clip_model.safetensors"
    tensors = {name: tensor.read() for name, tensor in open_safetensors(path).items()}
    tensors[f"{prefix}text_projection.weight"] = tensors.pop(f"{prefix}text_projection").T.copy()
    write_safetensors(path, tensors)
    assert_same_tree(convert.read(tmp_path)[1], dict(flatten(expected)))


@pytest.mark.parametrize("option", OPTIONS)
def test_config_says_what_the_model_was_built_with(open_clip, tmp_path, option):
    model = checkpoints.make_openclip(tmp_path, OPTIONS[option])
    config, _, _, _ = convert.read(tmp_path)
    visual, cfg = model.visual, OPTIONS[option]
    block = visual.transformer.resblocks[0]
    assert config.vision.grid == tuple(visual.grid_size)
    assert config.vision.n_heads == block.attn.num_heads
    assert config.vision.mlp_dim == block.mlp.c_fc.out_features
    assert config.vision.pool == {"tok": "class", "avg": "mean"}[visual.pool_type]
    assert config.vision.eps == block.ln_1.eps == visual.ln_post.eps
    assert config.text is not None
    assert config.text.pool == cfg["text_cfg"].get("pool_type", "argmax")
    assert config.text.causal == (getattr(model, "text", model).attn_mask is not None)
    gelu = block.mlp.gelu
    assert config.vision.activation == {"QuickGELU": "quick_gelu", "GELU": "gelu"}[type(gelu).__name__] + (
        "_tanh" if getattr(gelu, "approximate", "none") == "tanh" else ""
    )
    assert config.preprocess.mean == tuple(PREPROCESS["mean"])
    assert (config.preprocess.interpolation, config.preprocess.resize_mode) == ("bilinear", "squash")
    assert config.preprocess.size == config.vision.image_size


@pytest.mark.parametrize("layout", ["model.safetensors", "pytorch_model.bin", "model.safetensors.index.json"])
def test_hugging_face_checkpoint(open_clip, tmp_path, layout):
    model = checkpoints.make_hf(tmp_path, layout=layout)
    config, params, _, provenance = convert.read(tmp_path)
    state = numpy_state(model)
    assert_same_tree(params, expected_tree(openclip_names(state), config))
    assert (config.vision.n_heads, config.vision.mlp_dim, config.vision.activation) == (6, 100, "quick_gelu")
    assert config.text is not None
    assert (config.text.pool, config.text.eos_id, config.text.n_heads) == ("eos", 59, 4)
    assert (config.preprocess.interpolation, config.preprocess.resize_mode) == ("bicubic", "shortest")
    assert len(provenance["weights"]) == (1 if layout.count(".") == 1 else 7)


def openclip_names(hf):
    """A Hugging Face state dict under OpenCLIP's names: queries, keys and values stacked, projections transposed."""
    found = {
        "visual.class_embedding": hf["vision_model.embeddings.class_embedding"],
        "visual.positional_embedding": hf["vision_model.embeddings.position_embedding.weight"],
        "visual.conv1.weight": hf["vision_model.embeddings.patch_embedding.weight"],
        "visual.proj": hf["visual_projection.weight"].T,
        "token_embedding.weight": hf["text_model.embeddings.token_embedding.weight"],
        "positional_embedding": hf["text_model.embeddings.position_embedding.weight"],
        "text_projection": hf["text_projection.weight"].T,
        "logit_scale": hf["logit_scale"],
    }
    names = {"mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj", "layer_norm1": "ln_1", "layer_norm2": "ln_2"}
    names |= {"self_attn.out_proj": "attn.out_proj"}
    for kind in ("weight", "bias"):
        found[f"visual.ln_pre.{kind}"] = hf[f"vision_model.pre_layrnorm.{kind}"]
        found[f"visual.ln_post.{kind}"] = hf[f"vision_model.post_layernorm.{kind}"]
        found[f"ln_final.{kind}"] = hf[f"text_model.final_layer_norm.{kind}"]
        for tower, blocks, count in (("vision", "visual.", 3), ("text", "", 2)):
            for layer in range(count):
                ours, theirs = f"{blocks}transformer.resblocks.{layer}", f"{tower}_model.encoder.layers.{layer}"
                parts = [hf[f"{theirs}.self_attn.{name}_proj.{kind}"] for name in "qkv"]
                found[f"{ours}.attn.in_proj_{kind}"] = np.concatenate(parts)
                found |= {f"{ours}.{new}.{kind}": hf[f"{theirs}.{old}.{kind}"] for old, new in names.items()}
    return found


@pytest.mark.parametrize("scripted", [True, False])
def test_openai_archive_says_everything_by_itself(open_clip, tmp_path, scripted):
    model = checkpoints.make_openai(tmp_path / "ViT.pt", scripted=scripted)
    config, params, _, provenance = convert.read(tmp_path / "ViT.pt")
    assert_same_tree(params, expected_tree(numpy_state(model), config))
    assert config.vision.activation == "quick_gelu"
    assert (config.vision.n_heads, config.vision.image_size, config.vision.patch_size) == (2, (32, 32), (8, 8))
    assert config.preprocess.resize_mode == "shortest"
    assert "OpenAI" in provenance["options"]["activation"]["why"]


def test_training_checkpoint_takes_its_config_from_the_caller(open_clip, tmp_path):
    model = checkpoints.make_training(tmp_path / "epoch_3.pt")
    (tmp_path / "tiny.json").write_text(json.dumps(CFG))
    told = {"model": str(tmp_path / "tiny.json"), "activation": "gelu", "preprocess": "openai-bicubic-squash"}
    config, params, _, provenance = convert.read(tmp_path / "epoch_3.pt", **told)
    assert_same_tree(params, expected_tree(numpy_state(model), config))
    assert config.preprocess.resize_mode == "squash"
    assert provenance["options"]["activation"]["why"] == "passed as activation='gelu'"
    for left_out in told:
        with pytest.raises(CheckpointError, match=r"pass .*like="):
            convert.read(tmp_path / "epoch_3.pt", **{key: value for key, value in told.items() if key != left_out})


@pytest.mark.parametrize("pickled", [False, True])
@pytest.mark.parametrize("stored", ["bfloat16", "float16"])
def test_half_precision_files_are_read_exactly(open_clip, tmp_path, stored, pickled):
    import torch

    model = checkpoints.make_openclip(tmp_path, dtype=getattr(torch, stored), pickled=pickled)
    rounded = {name: tensor.to(getattr(torch, stored)).float().numpy() for name, tensor in model.state_dict().items()}
    rounded.pop("attn_mask", None)
    config, params, _, _ = convert.read(tmp_path)
    assert_same_tree(params, expected_tree(rounded, config))
    _, kept, _, _ = convert.read(tmp_path, dtype=stored)
    assert {leaf.dtype.name for _, leaf in flatten(kept)} == {stored}
    assert_same_tree({path: leaf.astype(np.float32) for path, leaf in flatten(kept)}, dict(flatten(params)))


def test_a_tensor_that_is_a_view_of_a_larger_storage(open_clip, tmp_path):
    import torch

    model = checkpoints.make_openclip(tmp_path, pickled=True)
    state = {name: tensor.detach() for name, tensor in model.state_dict().items() if name != "attn_mask"}
    state["visual.proj"] = state["visual.proj"].T.contiguous().T  # column-major
    both = torch.stack([state["visual.ln_post.bias"], state["visual.ln_post.weight"]], dim=1)
    state["visual.ln_post.bias"], state["visual.ln_post.weight"] = both[:, 0], both[:, 1]
    torch.save(state, tmp_path / "open_clip_pytorch_model.bin")
    config, params, _, _ = convert.read(tmp_path)
    assert_same_tree(params, expected_tree(numpy_state(model), config))


@pytest.mark.parametrize("option", sorted(set(OPTIONS) - {"custom_text"}))
def test_export_is_the_inverse_and_open_clip_loads_it(open_clip, tmp_path, option):
    checkpoints.make_openclip(tmp_path / "source", OPTIONS[option])
    config, params, _, _ = convert.read(tmp_path / "source")
    convert.export_openclip(params, config, tmp_path / "out")
    again, same, _, _ = convert.read(tmp_path / "out")
    assert_same_tree(same, dict(flatten(params)))
    assert (again.vision, again.text, again.preprocess) == (config.vision, config.text, config.preprocess)
    model = open_clip.create_model(f"local-dir:{tmp_path / 'out'}")
    assert_same_tree(params, expected_tree(numpy_state(model), config))


def test_export_in_half_precision_and_with_its_tokenizer(open_clip, tmp_path):
    checkpoints.make_openclip(tmp_path / "source")
    config, params, _, _ = convert.read(tmp_path / "source")
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "tokenizer.json").write_text("{}")
    out = convert.export_openclip(params, config, tmp_path / "out", "float16", tmp_path / "words")
    assert {tensor.dtype for tensor in open_safetensors(out / "open_clip_model.safetensors").values()} == {"float16"}
    _, _, words, _ = convert.read(out)
    assert (words.kind, words.folder) == ("own", out)
    huge = {**params, "logit_scale": np.float32(1e6)}
    with pytest.raises(CheckpointError, match="logit_scale has values that float16 cannot hold"):
        convert.export_openclip(huge, config, tmp_path / "huge", "float16")


def test_every_rule_table_covers_the_parameter_table(open_clip, tmp_path):
    """Right sides of the rules are the axes that the parameter table names, whatever the layout."""
    for option in ("plain", "layer_scale", "linear_projection"):
        checkpoints.make_openclip(tmp_path / option, OPTIONS[option])
        source = locate(tmp_path / option).open()
        config, _, _, _ = convert.read(tmp_path / option)
        axes = {f"vision.{path}": leaf.axes for path, leaf in vision_leaves(config.vision).items()}
        axes |= {f"text.{path}": leaf.axes for path, leaf in text_leaves(config.text).items()}
        for move in source.format.moves(config, set(source.tensors)):
            if move.target not in axes:
                continue
            right = move.pattern.split("->")[1].replace("(ph pw rgb)", "p").split()
            stacked = ["l"] if move.target.split(".")[1] == "blocks" else []
            assert stacked + right == axes[move.target].split(), move.target


def test_golden_checkpoint_loads_without_a_tokenizer(shared):
    config, params, words, provenance = convert.read(shared / "golden")
    assert (config.name, config.vision.n_layers, config.vision.head_dim) == ("golden", 4, 24)
    assert params["vision"]["blocks"]["attn_in"]["kernel"].shape == (4, 96, 3, 4, 24)
    assert words.kind == "missing"
    assert "512" in words.why
    assert "interpolation='bicubic'" in provenance["options"]["preprocess"]["why"]
    openclip_config(config)


def test_state_dict_and_fill_are_inverse(shared, tmp_path):
    config, params, _, _ = convert.read(shared / "golden")
    write_safetensors(tmp_path / "copy.safetensors", state_dict(params, config))
    again = fill(open_safetensors(tmp_path / "copy.safetensors"), config, OPENCLIP, "float32")
    assert_same_tree(again, dict(flatten(params)))
