"""A folder that is left out for its name is said with what it holds; nothing vanishes."""

import pytest
from PIL import Image

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
