"""What training runs leave: a CLIP under any keys and prefixes is found, and one that is not alone is never guessed."""

import argparse
import collections
import json
import pathlib

import numpy as np
import pytest
from parity import checkpoints
from parity.checkpoints import CFG
from test_convert_hostile import FLOATS, Call, archive, dump, tensor

from jaxclip import convert
from jaxclip.convert import CheckpointError
from jaxclip.convert.readers.torch_zip import read_archive
from jaxclip.convert.state_dicts import clip_weights, state_dicts
from jaxclip.model.params import flatten

WHOLE = "visual.class_embedding"


@pytest.fixture(scope="module")
def model(open_clip):
    return checkpoints.build(CFG)


@pytest.fixture
def saved(tmp_path, model):
    """A function that saves what a training run would, and reads it as this architecture."""
    import torch

    (tmp_path / "tiny.json").write_text(json.dumps(CFG))
    told = {"model": str(tmp_path / "tiny.json"), "activation": "gelu", "preprocess": "openai-bicubic-shortest"}

    def read(held, **more):
        torch.save(held, tmp_path / "run.ckpt")
        return dict(flatten(convert.read(tmp_path / "run.ckpt", **told, **more)[1]))

    return read


def under(prefix, state):
    return {prefix + name: value for name, value in state.items()}


def same(found, expected):
    assert found.keys() == expected.keys()
    for path, array in found.items():
        np.testing.assert_array_equal(array, expected[path], err_msg=path)


@pytest.mark.parametrize(
    "prefix",
    ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.", "clip_model.", "net.clip.model."],
)
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "model_state_dict", "params", "ema"])
def test_one_clip_under_any_key_and_prefix(saved, model, prefix, wrapper):
    state = model.state_dict()
    held = under(prefix, state)
    same(saved(held if wrapper is None else {"epoch": 3, wrapper: held}), saved(state))


def test_where_it_was_found_is_recorded(tmp_path, model):
    import torch

    checkpoints.make_openclip(tmp_path)
    torch.save({"state_dict": under("clip.", model.state_dict())}, tmp_path / "open_clip_pytorch_model.bin")
    (tmp_path / "open_clip_model.safetensors").unlink()
    assert convert.read(tmp_path)[3]["options"]["key"]["value"] == "state_dict.clip"


def test_a_tower_that_was_compiled_alone(saved, model):
    state = model.state_dict()
    compiled = {name.replace("visual.", "visual._orig_mod."): value for name, value in state.items()}
    same(saved(compiled), saved(state))
    with pytest.raises(CheckpointError, match="holds weights twice, with and without _orig_mod"):
        saved(state | compiled)


def test_an_averaged_copy_is_asked_for_by_its_key(saved, model):
    state, averaged = model.state_dict(), checkpoints.build(CFG, seed=5).state_dict()
    held = {"state_dict": under("module.", state), "state_dict_ema": averaged, "optimizer": {"state": {}}}
    with pytest.raises(CheckpointError, match=r"holds 2 .* key= with one of 'state_dict.module', 'state_dict_ema'"):
        saved(held)
    same(saved(held, key="state_dict_ema"), saved(averaged))
    same(saved(held, key="state_dict.module"), saved(state))
    with pytest.raises(CheckpointError, match=r"no CLIP under key='state_dict'; those it holds: "):
        saved(held, key="state_dict")
    both = under("student.", state) | under("teacher.", averaged)
    with pytest.raises(CheckpointError, match=r"one of 'student', 'teacher'"):
        saved(both)
    same(saved(both, key="teacher"), saved(averaged))
    same(saved(state | under("teacher.", averaged), key=""), saved(state))


def test_a_table_that_stands_under_two_keys_is_one(saved, model):
    state = model.state_dict()
    same(saved({"state_dict": state, "model": state}), saved(state))


@pytest.mark.parametrize("place", ["name", "table"])
def test_weights_beside_a_clip_may_change_what_it_computes(saved, model, place):
    import torch

    state, extra = model.state_dict(), {"fc.weight": torch.zeros(3, 24)}
    if place == "name":
        held, key = {"state_dict": under("clip.", state) | under("adapter.", extra)}, "state_dict.clip"
    else:
        held, key = {"model": state, "adapter": extra}, "model"
    with pytest.raises(CheckpointError, match=rf"may change what .*: adapter.fc.weight; pass key='{key}'"):
        saved(held)
    same(saved(held, key=key), saved(state))


def test_an_adapter_is_never_left_out(saved, model):
    import torch

    state = model.state_dict()
    for name in ("visual.proj.lora_A", "x.base_layer.weight", "blocks.0.attn.q.lora_B.default.weight"):
        for held in (
            state | {name: torch.zeros(2, 2)},
            {name: torch.zeros(2, 2)},
            {"m": state, "l": {name: state[WHOLE]}},
        ):
            with pytest.raises(CheckpointError, match=r"holds a LoRA adapter \(.*merge_and_unload"):
                saved(held)


class Arguments:
    """Somebody's own class."""


class Config(dict):
    """A table of one's own, as configuration libraries have them."""


class Names(list):
    pass


def test_what_a_training_run_keeps_beside_its_weights_is_no_obstacle(saved, model):
    import torch

    state, mine = model.state_dict(), Arguments()
    mine.lr = 1e-3
    beside = {
        "args": argparse.Namespace(lr=1e-3, out=pathlib.Path("runs")), "mine": [mine, Names("ab")],
        "config": Config(a=Config(b=1)), "kind": {Arguments: {"best": 1}}, "best": np.float32(0.3),
        "version": torch.__version__, "scores": np.zeros((2, 3)), "scheduler": {"milestones": collections.Counter([3])},
        "optimizer_state": {"state": {0: {"exp_avg": torch.zeros(2, 2)}}}, "rng_state": torch.get_rng_state(),
    }  # fmt: skip
    same(saved({"model": state, **beside}), saved(state))
    same(saved(under("module.", state) | {"n_averaged": torch.tensor(3)}), saved(state))


def test_a_model_that_was_pickled_whole_says_how_to_save_its_weights(saved, model):
    with pytest.raises(CheckpointError, match=r"whole object of open_clip.model.CLIP.*\.state_dict\(\), 'weights.pt'"):
        saved(model)
    with pytest.raises(CheckpointError, match=r"save one with torch.save\(model.state_dict\(\), path\)"):
        saved({"model": model})


def test_an_image_tower_alone_says_where_to_put_it(saved, model):
    with pytest.raises(CheckpointError, match=r"image tower alone: .* model.visual.load_state_dict\(...\), torch.save"):
        saved(model.visual.state_dict())


def test_an_object_of_an_unknown_class_is_empty_and_a_call_of_one_ends_the_reading(tmp_path):
    made = b"\x80\x02}X\x01\x00\x00\x00acos\nsystem\n)\x81}X\x01\x00\x00\x00bK\x01sbs."
    held, _ = read_archive(archive(tmp_path / "a.pt", made))
    assert held["a"].name == "os.system"
    with pytest.raises(CheckpointError, match=r"asks to run os.system, .*torch.save\(torch.load\('b.pt'"):
        read_archive(archive(tmp_path / "b.pt", dump({"a": Call("os", "system", "x")})))


def test_tables_that_mean_harm(tmp_path):
    """A table in itself, tables that double, and more CLIPs or other keys than can be told apart."""
    path = archive(tmp_path / "a.pt", dump({WHOLE: tensor()}), FLOATS)
    state, _ = read_archive(path)
    ring = {"state": state}
    ring["ring"] = ring
    assert state_dicts(ring) == {"state": state}
    wide = {str(i): state for i in range(1000)}
    assert len(state_dicts({str(i): wide for i in range(1000)})) == 1
    many = {f"{i}.{WHOLE}": state[WHOLE] for i in range(100_000)}
    with pytest.raises(CheckpointError, match="too many; save one state dict"):
        clip_weights({"": many}, None, "a.pt")
    with pytest.raises(CheckpointError, match="two tables of tensors are under"):
        state_dicts({"a" * 101: dict(state), "a" * 102: dict(state)})
    with pytest.raises(CheckpointError, match="by one name"):
        clip_weights({"a": {f"b.{WHOLE}": state[WHOLE]}, "a.b": state}, None, "a.pt")
