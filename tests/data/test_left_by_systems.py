"""A folder that is left out for its name is said with what it holds; nothing vanishes."""

import pytest
from PIL import Image

from jaxclip.data import walk
from jaxclip.data.found import described, summary
from jaxclip.data.open_data import open_data


def pictures(folder, n, suffix=".png"):
    folder.mkdir(parents=True)
    for number in range(n):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / f"{number}{suffix}")


@pytest.mark.parametrize(
    "name", ["thumbnails", "Thumbnails", "@eaDir", "lost+found", "__MACOSX", "found.000", "RECYCLER"]
)
def test_pictures_in_a_folder_of_a_systems_name_are_counted(name, tmp_path):
    for folder in ("cat", "dog"):
        pictures(tmp_path / folder, 2)
    pictures(tmp_path / name, 1)
    pictures(tmp_path / "cat" / name / "deeper", 3)
    source = open_data(tmp_path)
    assert len(source) == 4
    assert source.label_names == {"label": ("cat", "dog")}
    said = [line for line in described(source) if name in line]
    assert said == [f"left out: 4 images in {name}, a name of folders that systems leave; rename it if it is yours"]
    assert summary(source)["skipped"] == {f"{name}/": 4}


@pytest.mark.parametrize("name", [".thumbnails", ".git", ".ipynb_checkpoints", ".NET", ".Trash-1000"])
def test_pictures_in_a_hidden_folder_are_counted(name, tmp_path):
    for folder in ("cat", "dog"):
        pictures(tmp_path / folder, 2)
    pictures(tmp_path / name / "deeper", 1)
    pictures(tmp_path / "cat" / name, 3)
    source = open_data(tmp_path)
    assert len(source) == 4
    assert source.label_names == {"label": ("cat", "dog")}
    said = [line for line in described(source) if name in line]
    assert said == [f"left out: 4 images in {name}, a hidden folder; rename it if it is yours"]


def test_hidden_pictures_are_counted_and_those_of_an_archive_are_none(tmp_path):
    """`._0.png` is what macOS keeps beside 0.png: no picture, whatever its name ends in."""
    pictures(tmp_path / "data", 2)
    (tmp_path / "data" / ".hidden.png").write_bytes((tmp_path / "data" / "0.png").read_bytes())
    (tmp_path / "data" / "__MACOSX").mkdir()
    for place in ("data", "data/__MACOSX"):
        (tmp_path / place / "._0.png").write_bytes(b"\x00\x05\x16\x07")
    said = described(open_data(tmp_path / "data"))
    assert "left out: 1 image hidden by a name that begins with a dot" in said
    assert not any("__MACOSX" in line for line in said)
    assert summary(open_data(tmp_path / "data"))["skipped"] == {"./": 1}


def test_systems_and_hidden_folders_together(tmp_path):
    pictures(tmp_path / "data", 2)
    for name in (".a", ".b", "thumbnails"):
        pictures(tmp_path / "data" / name, 1)
    said = described(open_data(tmp_path / "data", kind="tree"))
    assert "left out: 1 image in thumbnails, a name of folders that systems leave; rename it if it is yours" in said
    assert "left out: 2 images in .a, .b, hidden folders; rename what is yours" in said


def test_snapshots_of_a_file_server_are_not_walked_through(tmp_path, monkeypatch):
    monkeypatch.setattr(walk, "MOST_COUNTED", 3)
    pictures(tmp_path / "data", 2)
    for hour in range(4):
        pictures(tmp_path / "data" / ".snapshot" / f"hourly.{hour}", 2)
    said = described(open_data(tmp_path / "data"))
    assert "left out: at least 3 images in .snapshot, a hidden folder; rename it if it is yours" in said


@pytest.mark.parametrize("name", ["thumbs", "previews", "thumb", "preview", "cache", "tmp", "recycle", "git", "masks"])
def test_what_may_be_a_class_is_one(name, tmp_path):
    for folder in ("cat", name):
        pictures(tmp_path / folder, 1)
    source = open_data(tmp_path)
    assert source.label_names == {"label": tuple(sorted(("cat", name)))}
    assert not any("left out" in line for line in described(source))


@pytest.mark.parametrize("kind", ["folder", "tree"])
def test_one_picture_beside_others(kind, tmp_path):
    pictures(tmp_path / "data", 2)
    pictures(tmp_path / "data" / "thumbnails", 1)
    (tmp_path / "data" / "thumbnails" / "Thumbs.db").write_bytes(b"")
    lines = described(open_data(tmp_path / "data", kind=kind))
    assert sum("left out: 1 image in thumbnails, a name" in line for line in lines) == 1
    assert not any("other kinds" in line for line in lines)


def test_nothing_is_said_of_such_a_folder_without_pictures(tmp_path):
    pictures(tmp_path / "data", 2)
    (tmp_path / "data" / "lost+found").mkdir()
    (tmp_path / "data" / "@eaDir").mkdir()
    (tmp_path / "data" / "@eaDir" / "0.png@SynoEAStream").write_bytes(b"")
    assert not any(
        "left out: " in line and "name of folders" in line for line in described(open_data(tmp_path / "data"))
    )


def test_a_data_set_that_is_all_in_such_a_folder(tmp_path):
    pictures(tmp_path / "data" / "thumbnails", 2)
    with pytest.raises(
        ValueError, match=r"holds no images, but 2 images in thumbnails, a name .* rename it if it is yours"
    ):
        open_data(tmp_path / "data")


@pytest.mark.parametrize("place", [".", "train"])
def test_a_table_in_parquet_beside_images_is_no_file_of_another_kind(place, tmp_path):
    """Its labels would vanish, and the folders' names would be taken for them."""
    for folder in ("cat", "dog"):
        pictures(tmp_path / "train" / folder, 2)
    (tmp_path / place / "metadata.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"metadata\.parquet is a table of Hugging Face's imagefolder .*metadata\.csv"):
        open_data(tmp_path, split="train" if place == "train" else None)
