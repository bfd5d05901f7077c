"""What somebody plants beside a place that is written to, or in a folder that is read, moves and carries nothing."""

import os
import shutil

import numpy as np
import pytest
import small
from PIL import Image

from jaxclip import convert
from jaxclip.cli.checks import check_folder
from jaxclip.convert.export import export_openclip
from jaxclip.convert.readers.tensors import CheckpointError
from jaxclip.files import atomic, checkpoint
from jaxclip.report.html.build import read_results
from jaxclip.runs.folder import check_place

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs links and pipes")
OLD = ".model.abcdefgh.old"


@pytest.fixture
def elsewhere(tmp_path):
    """A folder of somebody's with one of the model's name, and a picture."""
    (tmp_path / "elsewhere" / "model").mkdir(parents=True)
    (tmp_path / "elsewhere" / "model" / "file").write_text("mine")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "elsewhere" / "private.png")
    yield tmp_path / "elsewhere"
    assert (tmp_path / "elsewhere" / "model" / "file").read_text() == "mine"


@pytest.mark.parametrize("inner", [False, True])
def test_nothing_is_put_back_from_behind_a_link(tmp_path, elsewhere, inner):
    if inner:
        (tmp_path / OLD).mkdir()
        (tmp_path / OLD / "model").symlink_to(elsewhere / "model")
    else:
        (tmp_path / OLD).symlink_to(elsewhere)
    assert not atomic.put_back(tmp_path / "model")
    assert not os.path.lexists(tmp_path / "model")


def test_what_lies_beside_the_old_folder_stays_there(tmp_path):
    (tmp_path / OLD / "model").mkdir(parents=True)
    (tmp_path / OLD / "note").write_text("mine")
    assert atomic.put_back(tmp_path / "model")
    assert (tmp_path / "model").is_dir()
    assert (tmp_path / OLD / "note").read_text() == "mine"


def test_of_two_old_folders_neither_is_called_needless(tmp_path):
    for name in (OLD, ".model.ijklmnop.old"):
        (tmp_path / name / "model").mkdir(parents=True)
    with pytest.warns(UserWarning, match="before a conversion was killed") as told:
        checkpoint.tell_leftovers(tmp_path / "model")
    assert len(told) == 2
    assert not any("not needed" in str(one.message) for one in told)


@pytest.mark.parametrize("what", ["a pipe", "a device", "a link that leads nowhere", "a file"])
@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_what_is_no_folder_is_refused_before_anything_is_computed(tmp_path, what, below):
    place = tmp_path / "out"
    if what == "a pipe":
        os.mkfifo(place)
    elif what == "a file":
        place.touch()
    else:
        place.symlink_to("/dev/zero" if what == "a device" else tmp_path / "nowhere")
    with pytest.raises(NotADirectoryError, match=f"out is {what}; --out needs a folder"):
        check_folder(place / below)
    if not below:
        with pytest.raises(FileExistsError, match=f"out is {what}; name a folder"):
            check_place(place)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("name", ["results.json", "figure.png"])
@pytest.mark.parametrize("what", ["link out", "pipe", "link to /dev/zero"])
def test_a_report_takes_nothing_from_outside_a_results_folder(tmp_path, elsewhere, name, what):
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "results.json").write_text("{}")
    (folder / name).unlink(missing_ok=True)
    if what == "pipe":
        os.mkfifo(folder / name)
    else:
        (folder / name).symlink_to(elsewhere / "private.png" if what == "link out" else "/dev/zero")
    with pytest.raises(ValueError, match=name):
        read_results(folder)


def test_links_within_a_results_folder_count(tmp_path, elsewhere):
    shutil.copy(elsewhere / "private.png", tmp_path / "results.png")
    (tmp_path / "results.json").write_text("{}")
    (tmp_path / "again.png").symlink_to("results.png")
    assert [one["name"] for one in read_results(tmp_path)["figures"]] == ["again", "results"]


def test_results_nested_too_deeply_are_no_json(tmp_path):
    (tmp_path / "results.json").write_text("[" * 200_000)
    with pytest.raises(ValueError, match="is not JSON"):
        read_results(tmp_path)


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.json", "tokenizer_config.json"])
def test_an_export_carries_no_file_that_a_link_leads_to(tmp_path, name):
    config, params, *_ = convert.read(small.export_two_layers(tmp_path / "source"))
    (tmp_path / "secret").write_text("{}")
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / name).symlink_to(tmp_path / "secret")
    with pytest.raises(CheckpointError, match=rf"{name} is a link out of its folder"):
        export_openclip(params, config, tmp_path / "out", tokenizer_dir=tmp_path / "tokenizer")
    assert not (tmp_path / "out").exists()
