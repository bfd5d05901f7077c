"""Folders of runs that somebody else made or changed: any value anywhere is a clear error, even with new checksums."""

import json
import shutil

import numpy as np
import pytest
import small_pass
from fuzzing import DAMAGE, JSON, damaged, fuzz, leaves, replaced, told
from hypothesis import strategies as st

import jaxclip
from jaxclip.files.checksums import sha256
from jaxclip.runs.folder import fixed_checksums
from jaxclip.runs.image_list import ImageLines

JSONS = ["run.json", "bank/zarr.json", "bank/readable/zarr.json", "bank/heads/zarr.json", "bank/labels/label/zarr.json"]
EVERYTHING = [*JSONS, "images.jsonl", "matrices.npy", "state.npz"]


def read_all(folder):
    """What commands take from a run."""
    run = jaxclip.open_run(folder)
    np.asarray(run.moments.heads.mean)
    run.means()
    for kind, names in run.label_names.items():
        assert len(run.labels[kind]) == len(run.names)
        if kind in run.info["options"]["by"] and names:
            run.moments_by(kind, 0)
    run.head_state()
    for kind in run.label_names:
        run.bank.labels(kind)


def vouched(folder):
    """Whoever changes a file can change what the state says of it."""
    with np.load(folder / "state.npz") as held:
        arrays = dict(held)
    said = json.loads(arrays["checksums"].tobytes())
    said |= fixed_checksums(folder)
    said["images.jsonl"] = sha256(folder / "images.jsonl")
    arrays["checksums"] = np.frombuffer(json.dumps(said).encode(), np.uint8)
    arrays["n_bytes"] = np.array((folder / "images.jsonl").stat().st_size)
    np.savez(folder / "state.npz", **arrays)


def fresh(folder):
    """The copy of the run in `folder`, as it was."""
    shutil.rmtree(folder / "run", ignore_errors=True)
    return shutil.copytree(small_pass.run(folder.parents[0]).folder, folder / "run")


def test_new_checksums_are_believed(tmp_path):
    folder = fresh(tmp_path)
    vouched(folder)
    read_all(folder)


@fuzz(25, new=JSON, place=st.integers(0, 10**6), file=st.sampled_from(JSONS), vouch=st.booleans())
def test_any_value_in_what_a_run_says_of_itself(folder, new, place, file, vouch):
    changed = fresh(folder)
    whole = json.loads((changed / file).read_text())
    paths = leaves(whole)
    (changed / file).write_text(json.dumps(replaced(whole, paths[place % len(paths)], new)))
    if vouch:
        vouched(changed)
    told(read_all, changed)


@fuzz(25, new=JSON, place=st.integers(0, 10**6))
def test_any_value_in_the_list_of_images(folder, new, place):
    changed = fresh(folder)
    lines = [json.loads(line) for line in (changed / "images.jsonl").read_text().splitlines()]
    paths = leaves(lines)[1:]
    other = replaced(lines, paths[place % len(paths)], new)
    (changed / "images.jsonl").write_text("".join(json.dumps(line) + "\n" for line in other))
    vouched(changed)
    told(read_all, changed)


@pytest.mark.parametrize("line", [b"[]", b"{}", b'{"row": "1"}', b"[" * 100_000, b"{"])
def test_a_list_of_images_that_a_run_cannot_go_on_with(tmp_path, line):
    lines = ImageLines(tmp_path, 0, None)
    lines.add(line + b"\n")
    with pytest.raises(ValueError, match=r"images\.part\.jsonl is damaged"):
        lines.put_in_order()
    lines.close()


def test_a_state_that_unpacks_to_any_size(tmp_path):
    folder = fresh(tmp_path)
    with np.load(folder / "state.npz") as held:
        np.savez_compressed(folder / "state.npz", **dict(held))
    with pytest.raises(ValueError, match=r"state\.npz is damaged \(it is compressed"):
        read_all(folder)


@fuzz(25, damage=DAMAGE, file=st.sampled_from(EVERYTHING))
def test_any_damage_is_named(folder, damage, file):
    changed = fresh(folder)
    whole = (changed / file).read_bytes()
    (changed / file).write_bytes(damaged(whole, damage))
    said = told(read_all, changed)
    if said is None:
        assert content(changed / file) == content(small_pass.run(folder.parents[0]).folder / file)
    else:
        assert (changed / file).read_bytes() != whole
        assert file.split("/")[0] in said


def content(file):
    """What is read of a file: an archive also holds times and room for a comment, which say nothing."""
    if file.suffix != ".npz":
        return file.read_bytes()
    with np.load(file) as held:
        return {name: (array.dtype, array.shape, array.tobytes()) for name, array in held.items()}


@pytest.mark.parametrize("width", [2**20, 2**33])
def test_a_run_of_a_model_that_it_has_no_moments_of(tmp_path, width):
    """Moments of such a head would fill any memory, or have more numbers than can be counted."""
    folder = fresh(tmp_path)
    said = json.loads((folder / "run.json").read_text())
    said["model"]["config"]["vision"]["width"] = width
    (folder / "run.json").write_text(json.dumps(said))
    vouched(folder)
    with pytest.raises(ValueError, match=r"state\.npz is not of the run that run\.json describes \(all/heads/"):
        jaxclip.open_run(folder)


@pytest.mark.parametrize("name", ["readable", "heads", "labels/label"])
def test_a_bank_of_larger_files_than_the_runs(tmp_path, name):
    """Room is made for a whole file before it is read."""
    folder = fresh(tmp_path)
    path = folder / "bank" / name / "zarr.json"
    said = json.loads(path.read_text())
    said["chunk_grid"]["configuration"]["chunk_shape"][0] *= 2**16
    path.write_text(json.dumps(said))
    vouched(folder)
    with pytest.raises(ValueError, match="has files of"):
        read_all(folder)


@pytest.mark.parametrize("name", ["readable", "heads", "labels/label"])
def test_a_bank_that_declares_what_is_not_there(tmp_path, name):
    """Numbers that are not stored have a value all the same, so a line of metadata could stand for any of them."""
    folder = fresh(tmp_path)
    path = folder / "bank" / name / "zarr.json"
    said = json.loads(path.read_text())
    said["shape"][0] = 2**40
    path.write_text(json.dumps(said))
    vouched(folder)
    with pytest.raises(ValueError, match=r"is of shape \[1099511627776"):
        read_all(folder)
