"""Descriptions of checkpoints and tokenizers that mean harm or are broken; in a process without memory and network."""

import json
import shutil

import numpy as np
import pytest
import small
from fuzzing import DAMAGE, JSON, alone, damaged, fuzz, leaves, replaced, told
from hypothesis import strategies as st

from jaxclip import convert
from jaxclip.convert import CheckpointError, describe
from jaxclip.convert.readers.places import read_json
from jaxclip.convert.readers.safetensors import open_safetensors, write_safetensors
from jaxclip.files import checkpoint
from jaxclip.files.strict_json import parse_json
from jaxclip.tokenizer import from_folder

TOKENIZER = {
    "version": "1.0",
    "added_tokens": [
        {"id": 0, "content": "<pad>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True}
    ],
    "normalizer": {"type": "Lowercase"},
    "pre_tokenizer": {"type": "Whitespace"},
    "model": {"type": "WordLevel", "vocab": {"<pad>": 0, "a": 1, "dog": 2}, "unk_token": "<pad>"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ('{"a": 1, "a": 2}', "a name occurs twice"),
        ('{"a": NaN}', "NaN is no JSON"),
        ('{"a": -Infinity}', "-Infinity is no JSON"),
        ('{"a": 1e999}', "1e999 is too large"),
        ('{"a": ' + "9" * 5000 + "}", "Exceeds the limit"),
        ('{"a": "\\ud800"}', "half a character"),
        ('{"\\uDFFF": 1}', "half a character"),
        (b'{"a": "\xff"}', "invalid start byte"),
        ("", "Expecting value"),
    ],
)
def test_json_that_readers_could_take_differently(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        parse_json(text)
    (tmp_path / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CheckpointError, match=r"config\.json is not JSON"):
        read_json(tmp_path / "config.json")


@fuzz(value=JSON)
def test_json_is_what_python_reads_or_an_error(folder, value):
    text = json.dumps(value)
    read = []
    if told(lambda: read.append(parse_json(text))) is None:
        assert read == [json.loads(text)]
        read[0] = json.dumps(read[0], ensure_ascii=False).encode()


def test_headers_that_declare_what_is_not_there(tmp_path):
    """None of these may take memory before it is refused; all of them are shorter than a screen."""
    headers = {
        "long": (2**63, b"{}"),
        "deep": (None, b'{"a":' * 100_000),
        "wide": (None, b'{"a":{"dtype":"F32","shape":[' + b"1," * 10**6 + b'1],"data_offsets":[0,4]}}'),
        "huge": (None, b'{"a":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,4000000000000]}}'),
        "digits": (None, b'{"a":{"dtype":"F32","shape":[' + b"9" * 4000 + b'],"data_offsets":[0,4]}}'),
        "bool": (None, b'{"a":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}}'),
        "list": (None, b'{"a":{"dtype":["F32"],"shape":[1],"data_offsets":[0,4]}}'),
    }
    paths = []
    for name, (length, text) in headers.items():
        paths.append(tmp_path / f"{name}.safetensors")
        paths[-1].write_bytes((length or len(text)).to_bytes(8, "little") + text + bytes(4))
    (tmp_path / "sparse.safetensors").write_bytes((2**33).to_bytes(8, "little") + b"{")
    with (tmp_path / "sparse.safetensors").open("r+b") as file:
        file.truncate(2**34)
    paths.append(tmp_path / "sparse.safetensors")
    said = alone("convert.read(argument)", paths, imports="from jaxclip import convert", gigabytes=4)
    assert len(said) == len(paths)
    assert all(line.startswith("refused: ") and "not a whole safetensors file" in line for line in said), said
    assert max(map(len, said)) < 600


@fuzz(100, damage=DAMAGE)
def test_any_damage_to_a_safetensors_file(folder, damage):
    path = folder / "a.safetensors"
    write_safetensors(path, {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(2, np.float16)})
    path.write_bytes(damaged(path.read_bytes(), damage))
    assert path.name in (told(lambda: [tensor.read() for tensor in open_safetensors(path).values()]) or path.name)


@fuzz(30, new=JSON, place=st.integers(0, 10**6))
def test_any_value_in_a_configuration(folder, new, place):
    source = folder / "source"
    if not source.exists():
        small.export(source)
        shutil.copy(source / "open_clip_config.json", folder / "whole.json")
    whole = json.loads((folder / "whole.json").read_text())
    paths = leaves(whole)
    (source / "open_clip_config.json").write_text(json.dumps(replaced(whole, paths[place % len(paths)], new)))
    told(convert.read, source)
    told(describe, source)


def test_a_name_in_a_local_file_is_not_asked_of_the_network(tmp_path):
    """A configuration that lies here may name a tokenizer anywhere; only what somebody typed is fetched."""
    source = small.export(tmp_path / "source")
    config = json.loads((source / "open_clip_config.json").read_text())
    names = ["nobody/such-a-tokenizer", "https://example.org/x", "../../etc", "a/b@../../x", "bert-base-uncased"]
    paths = []
    for i, name in enumerate(names):
        shutil.copytree(source, tmp_path / str(i))
        config["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = name
        (tmp_path / str(i) / "open_clip_config.json").write_text(json.dumps(config))
        paths.append(tmp_path / str(i))
    for i, name in enumerate(("hf_tokenizer", "auto_map")):
        folder = tmp_path / name
        shutil.copytree(paths[0], folder)
        (folder / "tokenizer.json").write_text(json.dumps(TOKENIZER))
        told = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "<pad>"}
        trap = {"tokenizer_class": "Trap", "auto_map": {"AutoTokenizer": ["trap.Trap", "trap.Trap"]}}
        (folder / "tokenizer_config.json").write_text(json.dumps(told | (trap if i else {})))
        (folder / "trap.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
        paths.append(folder)
    said = alone(
        "words = jaxclip.load(argument).tokenizer; print(type(words).__name__, repr(getattr(words, 'reason', '')))",
        paths,
        imports="import os; os.environ.pop('HF_HUB_OFFLINE', None); import jaxclip, jaxclip.convert, transformers",
        gigabytes=8,
    )
    spoken = said[::2]
    assert said[1::2] == ["done"] * len(paths)
    assert all("MissingTokenizer" in line for line in spoken[:5]), spoken
    assert "hf download nobody/such-a-tokenizer" in spoken[0]
    assert spoken[5].startswith("FolderTokenizer")
    assert not (tmp_path / "ran").exists()


@fuzz(40, new=JSON, place=st.integers(0, 10**6))
def test_any_value_in_a_tokenizer_file(folder, new, place):
    paths = leaves(TOKENIZER)
    (folder / "tokenizer.json").write_text(json.dumps(replaced(TOKENIZER, paths[place % len(paths)], new)))
    told(lambda: from_folder(folder, 8, 0)(["a dog"]))


def test_a_tokenizer_without_a_word_for_the_unknown(tmp_path):
    """Found by fuzzing: it is read, and its Rust half has an error of its own for the first text."""
    (tmp_path / "tokenizer.json").write_text(json.dumps(replaced(TOKENIZER, ("model", "unk_token"), "[UNK]")))
    with pytest.raises(ValueError, match="own tokenizer fails on these texts"):
        from_folder(tmp_path, 8, 0)(["never seen"])


@fuzz(40, damage=DAMAGE)
def test_any_damage_to_a_tokenizer_file(folder, damage):
    (folder / "tokenizer.json").write_bytes(damaged(json.dumps(TOKENIZER).encode(), damage))
    told(lambda: from_folder(folder, 8, 0)(["a dog"]))


@pytest.mark.parametrize(("part", "field", "value", "message"), [
    *(("text", "projection", value, "must be one of linear, linear_bias, none") for value in (None, {}, "cubic")),
    ("preprocess", "size", [], "must be a height and a width"),
    ("preprocess", "size", [48, 64], r"\(48, 64\) and vision image_size \(48, 32\)"),
    ("vision", "patch_size", [1, 2, 3], "must be a height and a width"),
])  # fmt: skip
def test_what_a_config_cannot_say(tmp_path, unchecked, part, field, value, message):
    """Found by fuzzing, and the like of it: shapes follow from it before anything else looks."""
    done = convert.convert(small.export(tmp_path / "source"), tmp_path / "done")
    config = json.loads((done / "config.json").read_text())
    config[part][field] = value
    (done / "config.json").write_text(json.dumps(config))
    manifest = json.loads((done / "manifest.json").read_text())
    del manifest["files"]["config.json"]
    (done / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=f"{field} {message}"):
        checkpoint.load(done)


@fuzz(
    15, new=JSON, place=st.integers(0, 10**6), file=st.sampled_from(["config.json", "manifest.json", "provenance.json"])
)
def test_any_value_in_a_converted_folder(folder, new, place, file):
    done = folder / "converted"
    if not done.exists():
        convert.convert(small.export(folder / "source"), done)
        for name in ("config.json", "manifest.json", "provenance.json"):
            shutil.copy(done / name, folder / name)
    whole = json.loads((folder / file).read_text())
    paths = leaves(whole)
    (done / file).write_text(json.dumps(replaced(whole, paths[place % len(paths)], new)))
    if file != "manifest.json":  # whoever changes one file can change what is said of it
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["files"].pop(file)
        (done / "manifest.json").write_text(json.dumps(manifest))
    told(checkpoint.load, done)
    told(describe, done)
    for name in ("config.json", "manifest.json", "provenance.json"):
        shutil.copy(folder / name, done / name)
