"""What a run keeps is known before its first step, and bounded; so is what pictures take while they are decoded."""

import re
import subprocess
import sys
import threading
from dataclasses import replace

import jax
import numpy as np
import pytest
import small_pass
import towers
from PIL import Image
from test_sources import PREPROCESS

from jaxclip.config import VisionConfig
from jaxclip.data.open_data import open_data
from jaxclip.files.images import open_image
from jaxclip.runs.component_moments import Collected
from jaxclip.runs.decoding import Room, declared_bytes, decoded_bytes
from jaxclip.runs.loader import batches
from jaxclip.runs.order import Order
from jaxclip.runs.run_pass import PassOptions, run_pass
from jaxclip.runs.size import check_size
from jaxclip.runs.step import step


def lists(folder, labels):
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 9)).save(folder / "a.png")
    (folder / "list.csv").write_text("\n".join(["path,label", *(f"a.png,{label}" for label in labels)]))
    return open_data(folder / "list.csv")


@pytest.mark.parametrize("values", [100, 1000])
def test_a_step_takes_what_was_said(unchecked, tmp_path, values):
    clip = small_pass.clip()
    options = PassOptions(batch=4, by=("label",))
    source = lists(tmp_path, range(values))
    said = options.size(clip.config.vision, source, None)
    config = clip.config.vision
    # Shapes alone: a thousand values are gigabytes.
    moments = jax.eval_shape(lambda: {"all": Collected.zero(config), "by/label": Collected.zero(config, values)})
    held = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(moments))
    images, weights = np.zeros((4, *config.image_size, 3), np.float32), np.ones(4, np.float32)
    labels = {"by/label": np.zeros(4, np.int32)}
    lowered = step.lower(moments, clip.vision, images, weights, labels, "normalized", None)
    found = lowered.compile().memory_analysis()
    assert said.each * (1 + values) == held
    # Arguments that become results count once; beside moments there are weights, images and what the tower computes.
    taken = found.argument_size_in_bytes + found.temp_size_in_bytes + found.output_size_in_bytes
    taken -= found.alias_size_in_bytes
    assert said.device <= taken <= 1.2 * said.device + 2**21


def test_a_lone_large_number_as_a_word_is_one_value(tmp_path):
    number, word = (lists(tmp_path / name, [name]) for name in ("99999", "c99999"))
    config, options = small_pass.clip().config.vision, PassOptions(by=("label",))
    assert options.size(config, word, None).values == {"label": 1}
    with pytest.raises(ValueError, match=r"written as words, c99999 for 99999, only those that occur have one"):
        check_size(options.size(config, number, None), tmp_path / "run")
    check_size(options.size(config, word, None), tmp_path / "run")


def test_the_folder_takes_what_was_said(tmp_path):
    source = open_data(small_pass.pictures(tmp_path))
    clip = small_pass.clip()
    options = replace(small_pass.EVERYTHING, bank=True)
    said = options.size(clip.config.vision, source, None)
    run = run_pass(clip, source, tmp_path / "run", options)
    bank = sum(path.stat().st_size for path in (run.folder / "bank").rglob("*") if path.is_file())
    assert 0.9 * said.bank < bank < 1.5 * said.bank + 10_000  # 21 images, and metadata
    assert (run.folder / "state.npz").stat().st_size <= said.state


@pytest.mark.parametrize("labels", [[f"class {i}" for i in range(10_000)], ["99999"], list(range(0, 50_000, 5))])
def test_many_values_are_refused_and_can_be_allowed(tmp_path, labels):
    source, clip = lists(tmp_path / "data", labels), small_pass.clip()
    options = PassOptions(batch=1, by=("label",))
    n = len(source.label_names["label"])
    said = rf"moments of {n:,} values of label take .* GiB .*pass memory=[\d.]+ \(GiB\)"
    with pytest.raises(ValueError, match=said) as raised:
        run_pass(clip, source, tmp_path / "run", options, memory=0.5)
    assert not (tmp_path / "run").exists()
    allowed = float(re.search(r"memory=([\d.]+)", str(raised.value))[1])
    check_size(options.size(clip.config.vision, source, None), tmp_path / "run", allowed, 1000.0)


def test_by_default_eight_gib_are_the_bound(tmp_path):
    large = VisionConfig(**towers.VISION | {"width": 768, "n_layers": 12, "mlp_dim": 3072, "embed_dim": 512})
    with pytest.raises(ValueError, match="more than the 8 GiB that they may"):
        check_size(PassOptions(by=("label",)).size(large, lists(tmp_path, range(1000)), None), tmp_path)


def test_a_disk_that_is_too_small_is_told_before_the_first_step(tmp_path):
    source, clip = open_data(small_pass.pictures(tmp_path)), small_pass.clip()
    with pytest.raises(OSError, match=r"will take .* on disk and it may take 0\.1 MiB\. .*pass disk=0\.1 \(GiB\)"):
        run_pass(clip, source, tmp_path / "run", small_pass.EVERYTHING, disk=0.0001)
    assert not (tmp_path / "run").exists()


def pictures_of(folder):
    """One of every kind that takes more than three bytes a pixel, and the commonest ones."""
    grey = (np.add.outer(np.arange(1500) // 7, np.arange(1500) // 5) % 256).astype(np.uint8)
    colour = Image.fromarray(np.stack([grey, grey[::-1], grey.T], -1))
    see_through = colour.copy()
    see_through.putalpha(Image.fromarray(grey))
    turned = Image.Exif()
    turned[274] = 6
    colour.save(folder / "plain.jpg")
    colour.save(folder / "progressive.jpg", progressive=True, subsampling=0)
    colour.save(folder / "turned.jpg", exif=turned)
    colour.convert("CMYK").save(folder / "cmyk.jpg")
    see_through.save(folder / "alpha.png", compress_level=1)
    Image.fromarray(grey).convert("LA").save(folder / "grey_alpha.png", compress_level=1)
    Image.fromarray(grey.astype(np.uint16) * 257).save(folder / "sixteen.png", compress_level=1)
    colour.quantize(64).save(folder / "palette.png")
    see_through.save(folder / "alpha.webp", method=0)
    colour.save(folder / "lzw.tif", compression="tiff_lzw")
    colour.save(folder / "wavelets.jp2")
    return sorted(path for path in folder.iterdir() if path.suffix != ".txt")


PEAK = """
import sys
from PIL import Image
from test_sources import PREPROCESS
from jaxclip.preprocess import preprocess

def peak():
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) * 1024

for path in sys.argv[1:]:
    preprocess(path.replace("/large/", "/small/"), PREPROCESS, apply_exif=True)  # what a decoder loads once
    open("/proc/self/clear_refs", "w").write("5")
    before = peak()
    preprocess(path, PREPROCESS, apply_exif=True)
    print(peak() - before)
"""


@pytest.mark.nightly
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_picture_takes_more_than_its_header_says(tmp_path):
    for name in ("small", "large"):
        (tmp_path / name).mkdir()
    paths = pictures_of(tmp_path / "large")
    for path in paths:
        (tmp_path / "small" / path.name).write_bytes(path.read_bytes())
    done = subprocess.run([sys.executable, "-c", PEAK, *paths], capture_output=True, text=True, check=True)
    for path, taken in zip(paths, map(int, done.stdout.split()), strict=True):
        assert taken <= declared_bytes(path, apply_exif=True) + 2**21, path.name


def test_what_is_declared_is_more_for_what_takes_more(tmp_path):
    said = {path.name: declared_bytes(path) / 1500**2 for path in pictures_of(tmp_path)}
    assert said["palette.png"] < said["plain.jpg"] < said["progressive.jpg"] < said["sixteen.png"]
    assert said["plain.jpg"] < said["alpha.png"] < said["alpha.webp"]
    assert declared_bytes(tmp_path / "plain.jpg", apply_exif=True) == 2 * declared_bytes(tmp_path / "plain.jpg")
    assert declared_bytes((tmp_path / "plain.jpg").read_bytes()) == declared_bytes(tmp_path / "plain.jpg")
    for nothing in (tmp_path / "none.png", b"no picture", np.zeros((4, 4, 3), np.uint8)):
        assert declared_bytes(nothing) == 0


@pytest.mark.parametrize("most", [10, 25, 1000])
def test_room_is_never_exceeded_but_by_one_alone(most):
    room, lock, now, seen = Room(most), threading.Lock(), [], []

    def take(n):
        with room.taken(n):
            with lock:
                now.append(n)
                seen.append((len(now), sum(now)))
            threading.Event().wait(0.001)
            with lock:
                now.remove(n)

    threads = [threading.Thread(target=take, args=(n,)) for n in [3, 8, 30, 1, 12, 7, 0, 9] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    assert len(seen) == 32
    assert all(held <= most or n == 1 or held - 30 <= 0 for n, held in seen)
    if most == 1000:
        assert max(n for n, _ in seen) > 1


def test_room_is_given_back_by_a_picture_that_fails():
    room = Room(10)
    for _ in range(3):
        with pytest.raises(ValueError, match="broken"), room.taken(10):
            raise ValueError("broken")


@pytest.mark.parametrize("decoding", [0, 10_000, 2**30])
def test_the_budget_changes_no_bit(tmp_path, decoding, monkeypatch):
    source = open_data(small_pass.pictures(tmp_path))
    order, held, most = Order.of(21, 4), [], []
    taken = Room.taken

    def noted(self, n_bytes):
        most.append(self.most)
        held.append(n_bytes)
        return taken(self, n_bytes)

    monkeypatch.setattr(Room, "taken", noted)
    expected = list(batches(source, PREPROCESS, order, n_threads=1))
    for one, other in zip(expected, batches(source, PREPROCESS, order, n_threads=7, decoding=decoding), strict=True):
        np.testing.assert_array_equal(one.images, other.images)
        assert one.errors == other.errors
    with open_image(source[0].image) as opened:
        assert decoded_bytes(opened) == 40 * 50 * 5
    assert sorted(set(held)) == [0, 40 * 50 * 5]
    assert set(most) == {2**30, decoding}
