"""The hub is asked for names that the user typed, and for no others: requests are counted where they arrive."""

import json
import shlex
import shutil
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import numpy as np
import pytest
import report_run
import small
from command import only_line, status, with_info
from huggingface_hub import constants
from parity import checkpoints
from safetensors.numpy import load_file, save_file

import jaxclip
from jaxclip import convert, verify
from jaxclip.convert import CheckpointError
from jaxclip.data.scenes import CHECKPOINT


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """What a hub that has nothing was asked for; the cache is empty."""
    paths = []

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self):
            paths.append(self.path)
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_POST = do_GET

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_user")
    yield paths
    server.shutdown()
    server.server_close()


def put(tmp_path, repository, source):
    """A folder's files as the cache holds a repository's."""
    home, commit = tmp_path / "hub" / f"models--{repository.replace('/', '--')}", "c" * 40
    (home / "refs").mkdir(parents=True)
    (home / "refs" / "main").write_text(commit)
    shutil.copytree(source, home / "snapshots" / commit)
    return home / "snapshots" / commit


@pytest.fixture
def run(tmp_path_factory):
    return report_run.run(tmp_path_factory.getbasetemp()).folder


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    """The run as somebody made it up, by the name that it gives its model."""
    folder, whole = tmp_path_factory.mktemp("made_up"), report_run.run(tmp_path_factory.getbasetemp()).folder

    @cache
    def named(name):
        return with_info(whole, folder / f"run{len(list(folder.iterdir()))}", "model", source=name)

    return named


COMMANDS = [
    "textspan {run}", "ablate {run} --label shape", "ablate {run} --label shape --means-from {run}",
    "debias {run} --label bird --property background", "retrieve {run} 0 --property colour",
    "retrieve {run} {picture} --heads 5.0", "report {run}", "report {run} {run}",
]  # fmt: skip
NAMES = ["evil/model", "hf-hub:evil/model", "hf-hub:evil/model@main", "ViT-L-14/openai", "ViT-L-14-CLIPA/datacomp1b"]


@pytest.mark.parametrize("line", COMMANDS)
def test_a_run_of_somebody_else_asks_nothing(asked, made_up, tmp_path, capsys, line):
    picture = tmp_path / "query.png"
    report_run.Image.new("RGB", (64, 64), "red").save(picture)
    for i, name in enumerate(NAMES):
        words = shlex.split(line.format(run=made_up(name), picture=picture))
        assert status(*words, "--out", tmp_path / f"out{i}") == 1
        said = only_line(capsys.readouterr())
        assert "--model" in said
    assert asked == []


STRANGE = [
    "https://huggingface.co/evil/model", "http://127.0.0.1:9/evil/model", "ftp://evil/model", "s3://evil/model",
    "gs://evil/model", "file:///evil/model", "git+https://evil/model", "datasets/evil/model", "models--evil--model",
    "hf-hub:evil", "hf-hub:evil/model/file.bin", "hf-hub:../model", "hf-hub:evil/model@../main", "hf-hub:",
    "hf_hub:evil/model", "HF-HUB:evil/model", " hf-hub:evil/model", "local-dir:evil/model", "hf-hub:ViT-B-32/openai",
    "ViT-B-32/laion2b_s34b_b79k", "ViT-B-32", "ViT-B-32/", "vit-b-32/openai", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
    "openai/clip-vit-base-patch32", "../model", "./model", "~/no/model", "~nobody-of-that-name/model", "/no/such/model",
    "\\\\evil\\share\\model", "//evil/share/model", "\x1b[2J", "a\nb", "a\0b", "x" * 5000,
    "x/" * 3000, "", " ", ".", "/",
]  # fmt: skip


def test_whatever_a_run_calls_its_model_nothing_is_asked(asked, made_up, tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    for name in STRANGE:
        assert status("textspan", made_up(name), "--out", tmp_path / "out") == 1, name
        said = only_line(capsys.readouterr())
        assert "--model" in said, name
        assert "should not happen" not in said, name
    assert asked == []


@pytest.mark.parametrize("line", ["verify {}", "run {} scenes --out out", "run scenes {} --out out", "convert {} out",
                                  "segment scenes {} --out out"])  # fmt: skip
@pytest.mark.parametrize(
    "name", ["~nobody-of-that-name/x", "//evil/share/x", "\\\\evil\\share", "https://evil/x", "file:///x"]
)
def test_what_is_no_path_and_no_name_is_told_without_asking(asked, tmp_path, monkeypatch, capsys, line, name):
    monkeypatch.chdir(tmp_path)
    assert status(*(word.format(name) for word in line.split())) == 1
    assert "should not happen" not in only_line(capsys.readouterr())
    assert asked == []


def test_a_run_whose_files_are_in_the_cache_goes_on_without_a_request(asked, run, tmp_path):
    put(tmp_path, "org/repo", CHECKPOINT)
    other = with_info(run, tmp_path / "run", "model", source="hf-hub:org/repo")
    arguments = ("--texts", "scenes", "--layers", "5", "--steps", "2", "--out", tmp_path / "out")
    assert status("textspan", other, *arguments) == 0
    assert asked == []


def test_a_model_that_is_named_beside_a_run_is_asked_for(asked, run, tmp_path, capsys):
    """So the stub counts what arrives."""
    assert status("textspan", run, "--model", "hf-hub:org/repo", "--out", tmp_path / "out") == 1
    assert "there is no repository org/repo" in only_line(capsys.readouterr())
    assert [path for path in asked if "org/repo" in path]


@pytest.mark.parametrize("name", ["p/model", "models/vit_b_16", "p/model.v2", "p/model@main"])
@pytest.mark.parametrize(
    "line",
    [
        "verify {}", "convert {} out", "run {} scenes --out out", "decompose {} scenes/0 --texts a b --out out",
        "heatmap {} scenes/0 a b --out out", "segment {} scenes --out out",
    ],
)  # fmt: skip
def test_the_path_of_a_model_that_is_missing_is_a_missing_path(asked, tmp_path, monkeypatch, capsys, line, name):
    monkeypatch.chdir(tmp_path)
    assert status(*shlex.split(line.format(name))) == 1
    assert f"there is no file or folder {name}; if a hub repository is meant, write hf-hub:{name}" in only_line(
        capsys.readouterr()
    )
    assert asked == []


def test_a_plain_name_that_the_cache_holds_in_part_is_not_completed(asked, tmp_path):
    folder = put(tmp_path, "org/repo", CHECKPOINT)
    assert jaxclip.load("org/repo").config.name == "org/repo"
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no open_clip_model.* only names that you type, such as hf-hub:o"):
        jaxclip.load("org/repo")
    assert asked == []


@pytest.mark.parametrize("way", ["folder", "plain", "offline", "typed"])
def test_a_tokenizer_that_a_file_names_is_not_asked_for(open_clip, asked, tmp_path, way):
    """Nor that of a repository which the user did type: its files are somebody's too."""
    cfg = checkpoints.config(text_hf_tokenizer_name="evil/words")
    checkpoints.make_openclip(tmp_path / "model", cfg)
    if way != "folder":
        put(tmp_path, "org/repo", tmp_path / "model")
    name = {"folder": tmp_path / "model", "plain": "org/repo"}.get(way, "hf-hub:org/repo")
    clip = jaxclip.load(name, offline=way == "offline")
    with pytest.raises(ValueError, match=r"evil/words is not in the cache: run `hf download evil/words`"):
        clip.tokenize("a dog")
    assert [path for path in asked if "evil" in path] == []
    assert way == "typed" or asked == []


def test_a_tokenizer_that_openclips_own_models_name_comes_with_a_repository(open_clip, asked, tmp_path):
    checkpoints.make_openclip(tmp_path / "model", checkpoints.config(text_hf_tokenizer_name="bert-base-uncased"))
    put(tmp_path, "org/repo", tmp_path / "model")
    convert.read("hf-hub:org/repo")
    assert [path for path in asked if "google-bert/bert-base-uncased" in path]
    asked.clear()
    convert.read("hf-hub:org/repo", offline=True)
    convert.read(tmp_path / "model")
    assert asked == []


def test_verify_asks_nothing_for_a_text_tower_that_a_file_names(open_clip, asked, tmp_path):
    """open_clip would fetch its configuration; the image tower is compared all the same."""
    small.export(tmp_path)
    path = tmp_path / "open_clip_config.json"
    fields = json.loads(path.read_text())
    fields["model_cfg"]["text_cfg"] = {"hf_model_name": "evil/words", "hf_tokenizer_name": "evil/words"}
    path.write_text(json.dumps(fields))
    weights = tmp_path / "open_clip_model.safetensors"
    tensors = {name: tensor for name, tensor in load_file(weights).items() if name.startswith(("visual.", "logit"))}
    save_file(tensors | {"text.transformer.embeddings.weight": np.ones((5, 8), np.float32)}, weights)
    clip = jaxclip.load(tmp_path)
    checks = list(verify.compare(clip, str(tmp_path), verify.probe_images(clip, 1)))
    assert asked == []
    assert len(checks) == 1 + clip.config.vision.n_layers
    assert all(check.holds for check in checks)


def test_offline_is_no_word_about_weights(tmp_path):
    """Of a converted folder all is settled, and still it may be opened so."""
    convert.convert("scenes", tmp_path / "model")
    assert jaxclip.load(tmp_path / "model", offline=True).config == jaxclip.load(tmp_path / "model").config
    with pytest.raises((CheckpointError, ValueError), match="is settled"):
        jaxclip.load(tmp_path / "model", like="ViT-B-16/openai")
