"""Pictures with masks from every layout they come in, and what is wrong with them said clearly."""

import io
import os
import re
import shutil

import h5py
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from jaxclip.data.masks.mask_files import save_mask
from jaxclip.data.masks.open_masked import VOC_CLASSES, open_masked
from jaxclip.data.scenes import CLASSES, scene
from jaxclip.data.scenes.tfds_builder import Scenes, ScenesConfig
from jaxclip.data.stamps import DataChanged

RNG = np.random.default_rng(0)
SIZES = [(20, 31), (17, 12), (40, 25)]
PIXELS = [RNG.integers(0, 256, (*size, 3), np.uint8) for size in SIZES]
MASKS = [RNG.integers(0, 3, size).astype(np.int32) for size in SIZES]


def fill(folder, images="images", masks="masks", suffix=".png"):
    (folder / images).mkdir(parents=True)
    (folder / masks).mkdir(parents=True)
    for i, (pixels, mask) in enumerate(zip(PIXELS, MASKS, strict=True)):
        Image.fromarray(pixels).save(folder / images / f"p{i}{suffix}")
        save_mask(mask, folder / masks / f"p{i}.png")
    return folder


def same(source, exact=True):
    assert len(source) == 3
    for i, one in enumerate(source[i] for i in range(3)):
        np.testing.assert_array_equal(one.mask, MASKS[i])
        assert one.image.mode == "RGB"
        if exact:
            np.testing.assert_array_equal(np.asarray(one.image), PIXELS[i])


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="png")
    return buffer.getvalue()


@pytest.fixture
def gtsegs(tmp_path):
    """The layout of gtsegs_ijcv.mat: MATLAB 7.3 keeps arrays transposed, and cells as references."""
    path = tmp_path / "gtsegs_ijcv.mat"
    with h5py.File(path, "w") as file:
        image_cells = file.create_dataset("value/img", (3, 1), h5py.ref_dtype)
        mask_cells = file.create_dataset("value/gt", (3, 1), h5py.ref_dtype)
        for i, (pixels, mask) in enumerate(zip(PIXELS, MASKS, strict=True)):
            image_cells[i, 0] = file.create_dataset(f"#refs#/i{i}", data=pixels.transpose(2, 1, 0)).ref
            file[f"#refs#/m{i}"] = mask.T.astype(np.uint8)
            other = file.create_dataset(f"#refs#/o{i}", data=np.zeros_like(mask.T))
            inner = file.create_dataset(f"#refs#/g{i}", (2, 1), h5py.ref_dtype)
            inner[0, 0], inner[1, 0] = file[f"#refs#/m{i}"].ref, other.ref
            mask_cells[i, 0] = inner.ref
    return path


def test_imagenet_segmentation(gtsegs):
    source = open_masked(gtsegs)
    same(source)
    assert source.class_names is None
    assert source[1].name == "00001"


def test_other_hdf5_is_refused(tmp_path):
    with h5py.File(tmp_path / "other.mat", "w") as file:
        file["x"] = 1
    (tmp_path / "text.mat").write_text("no HDF5")
    for name in ("other.mat", "text.mat"):
        with pytest.raises(ValueError, match=rf"{name} must be HDF5 with value/img and value/gt"):
            open_masked(tmp_path / name)


def test_folders_of_images_and_masks(tmp_path):
    same(open_masked(fill(tmp_path / "a")))
    same(open_masked(tmp_path / "a" / "images", masks=tmp_path / "a" / "masks"))
    bare = open_masked(tmp_path / "a" / "images")
    assert [bare[i].mask for i in range(3)] == [None] * 3
    one = open_masked(tmp_path / "a" / "images" / "p1.png", masks=tmp_path / "a" / "masks")
    np.testing.assert_array_equal(one[0].mask, MASKS[1])
    assert len(one) == 1


def test_pascal_vocs_own_folder(tmp_path):
    voc = fill(tmp_path / "VOC2012", "JPEGImages", "SegmentationClass", ".jpg")
    Image.fromarray(PIXELS[0]).save(voc / "JPEGImages" / "unlabelled.jpg")
    (voc / "ImageSets" / "Segmentation").mkdir(parents=True)
    (voc / "ImageSets" / "Segmentation" / "val.txt").write_text("p2\np0\n")
    same(open_masked(voc), exact=False)
    listed = open_masked(voc, split="val")
    assert [listed[i].name for i in range(len(listed))] == ["p2.jpg", "p0.jpg"]
    assert listed.class_names == VOC_CLASSES
    assert len(VOC_CLASSES) == 20
    with pytest.raises(ValueError, match=r"no split 'test' in ImageSets/Segmentation; it has val"):
        open_masked(voc, split="test")


class Voc(tfds.core.GeneratorBasedBuilder):
    """The features of tfds's voc that matter here."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(),
                "image/filename": tfds.features.Text(),
                "labels": tfds.features.Sequence(tfds.features.ClassLabel(names=["aeroplane", "bicycle"])),
            }
        )
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {"validation": self._generate_examples()}

    def _generate_examples(self):
        for i, pixels in enumerate(PIXELS):
            yield i, {"image": png(pixels), "image/filename": f"p{i}.jpg", "labels": [0]}


def test_pascal_voc_through_tfds_with_vocs_masks(tmp_path):
    builder = Voc(data_dir=tmp_path / "tfds")
    builder.download_and_prepare(file_format="array_record")
    masks = fill(tmp_path / "voc") / "masks"
    source = open_masked(str(builder.data_path), masks=masks)
    names = [source[i].name for i in range(3)]
    assert sorted(names) == ["p0.jpg", "p1.jpg", "p2.jpg"]
    for i, name in enumerate(names):
        np.testing.assert_array_equal(source[i].mask, MASKS[int(name[1])])
        np.testing.assert_array_equal(np.asarray(source[i].image), PIXELS[int(name[1])])
    assert source.class_names == VOC_CLASSES
    assert open_masked(str(builder.data_path))[0].mask is None
    (masks / "p1.png").unlink()
    with pytest.raises(ValueError, match=r"p1.jpg has no mask of its name"):
        open_masked(str(builder.data_path), masks=masks)[names.index("p1.jpg")]


def test_scenes_drawn_and_through_tfds(tmp_path):
    sizes = {"n_train": 1, "n_validation": 1, "n_test": 3, "pixels": 96, "n_captions": 1, "seed": 0}
    builder = Scenes(data_dir=tmp_path, config=ScenesConfig(name="small", **sizes))
    builder.download_and_prepare()
    stored, drawn = open_masked(str(builder.data_path), split="test"), open_masked("scenes")
    assert stored.class_names == drawn.class_names == CLASSES[1:]
    for i in range(3):
        exact = scene(0, "test", i, n_captions=1)
        for one in (stored[i], drawn[i]):
            np.testing.assert_array_equal(one.mask, exact["mask"])
            np.testing.assert_array_equal(np.asarray(one.image), exact["image"])


def test_what_does_not_fit_is_named(tmp_path):
    folder = fill(tmp_path / "a")
    save_mask(MASKS[0][:, :-1], folder / "masks" / "p0.png")
    with pytest.raises(ValueError, match=r"the mask of p0.png must be 20 x 31 pixels .*; got 20 x 30"):
        open_masked(folder)[0]
    (folder / "masks" / "p2.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"p2.png: this is no mask that Pillow can read"):
        open_masked(folder)[2]
    Image.fromarray(PIXELS[1]).save(folder / "masks" / "p1.png")
    with pytest.raises(ValueError, match=r"p1.png must hold labels"):
        open_masked(folder)[1]
    (folder / "images" / "p1.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"p1.png: this is no image that Pillow can read"):
        open_masked(folder)[1]
    (folder / "masks" / "p2.png").unlink()
    with pytest.raises(ValueError, match=r"p2.png has no mask of its name \(1 of 3"):
        open_masked(folder)


def test_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such folder of masks"):
        open_masked(tmp_path, masks=tmp_path / "masks")
    with pytest.raises(ValueError, match=r"holds no images"):
        open_masked(tmp_path)
    with pytest.raises(ValueError, match=r"has no splits"):
        open_masked(tmp_path, split="test")
    with pytest.raises(FileNotFoundError, match=r"nowhere"):
        open_masked("nowhere")


@pytest.mark.parametrize("what", ["images", "masks"])
@pytest.mark.parametrize("how", ["another", "moved in", "gone", "linked"])
def test_a_picture_or_mask_replaced_after_all_were_looked_at_is_named(tmp_path, what, how):
    source = open_masked(fill(tmp_path / "data"))
    source.masks.check("classes", 2)  # reads every mask, to know what numbers mean
    path = tmp_path / "data" / what / "p1.png"
    before, held = path.stat(), path.read_bytes()
    if how == "another":
        path.write_bytes(held[:-1] + bytes([held[-1] ^ 1]))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif how == "moved in":
        shutil.copy2(path, tmp_path / "new")
        (tmp_path / "new").replace(path)
    else:
        path.rename(tmp_path / "kept.png")
        if how == "linked":
            path.symlink_to(path.with_name("p2.png"))
    said = "is gone" if how == "gone" else "has changed"
    with pytest.raises(DataChanged, match=rf"{re.escape(str(path))} {said}.* since the data was opened\. Put it back"):
        source[1]
    assert source[0].name == "p0.png"
