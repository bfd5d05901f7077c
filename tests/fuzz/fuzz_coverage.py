"""Fuzzing that looks for new paths through the readers, with atheris (pip install atheris; CPython 3.11 or 3.12).

    python tests/fuzz/fuzz_coverage.py pickle -max_total_time=300

Readers: pickle, zip, safetensors, json, matlab, table, pool, image. Anything but the library's own errors ends it, with
the input in a file; further arguments are libFuzzer's, a folder among them keeps the inputs that found something new.
"""

import io
import os
import sys
import tempfile
import warnings
from pathlib import Path

import atheris

os.environ.setdefault("JAX_PLATFORMS", "cpu")
with atheris.instrument_imports(include=["jaxclip"]):
    from jaxclip.config import PreprocessConfig
    from jaxclip.convert.readers.safetensors import open_safetensors, write_safetensors
    from jaxclip.convert.readers.tensors import CheckpointError
    from jaxclip.convert.readers.torch_zip import _Reader, read_archive
    from jaxclip.data.image_folders import ListFile
    from jaxclip.data.matlab import read_matlab
    from jaxclip.data.text_pools import read_pool
    from jaxclip.files.strict_json import parse_json
    from jaxclip.preprocess import preprocess

FOLDER = Path(tempfile.mkdtemp(prefix="fuzz_coverage."))
SIZE = PreprocessConfig(
    size=(8, 8), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), interpolation="bicubic", resize_mode="squash"
)


def pickle(data: bytes) -> None:
    _Reader(FOLDER / "a.pt", "", {}).read(data)


def in_file(name: str, read):
    def target(data: bytes) -> None:
        (FOLDER / name).write_bytes(data)
        read(FOLDER / name)

    return target


def table(path: Path) -> None:
    source = ListFile(path)
    source.fingerprint()
    [source[i] for i in range(len(source))]


def array(path: Path) -> None:
    path.with_suffix(".txt").write_text("a\nb\n")
    read_pool(path)


TARGETS = {
    "pickle": pickle,
    "zip": in_file("a.pt", read_archive),
    "safetensors": in_file("a.safetensors", lambda path: [one.read() for one in open_safetensors(path).values()]),
    "json": parse_json,
    "matlab": in_file("a.mat", lambda path: read_matlab(path, "synsets")),
    "table": in_file("a.csv", table),
    "pool": in_file("a.npy", array),
    "image": lambda data: preprocess(data, SIZE),
}


def seeds(name: str) -> list[bytes]:
    """A whole file of each kind to begin with."""
    import numpy as np

    if name == "safetensors":
        write_safetensors(FOLDER / "a.safetensors", {"a": np.ones((2, 3), np.float32)})
        return [(FOLDER / "a.safetensors").read_bytes()]
    if name == "matlab":
        from scipy.io import savemat

        rows = np.array([(1, "n1"), (2, "n2")], [("ILSVRC2012_ID", "i4"), ("WNID", "O")])
        files = [io.BytesIO(), io.BytesIO()]
        for file, packed in zip(files, (False, True), strict=True):
            savemat(file, {"synsets": rows}, do_compression=packed)
        return [file.getvalue() for file in files]
    if name in ("zip", "pickle"):
        from test_convert_hostile import FLOATS, archive, dump, tensor

        whole = dump({"state_dict": {"a": tensor()}, "epoch": 1})
        return [whole] if name == "pickle" else [archive(FOLDER / "seed.pt", whole, FLOATS).read_bytes()]
    if name == "pool":
        np.save(FOLDER / "seed.npy", np.ones((2, 3), np.float32))
        return [(FOLDER / "seed.npy").read_bytes()]
    if name == "image":
        from test_fuzz_images import WHOLE

        return WHOLE
    return {"json": [b'{"a": [1, 2.5, null, "b"]}'], "table": [b"path,label\na.png,1\n"]}[name]


def main() -> None:
    name, rest = sys.argv[1], sys.argv[2:]
    target = TARGETS[name]
    corpus = FOLDER / "corpus"
    corpus.mkdir()
    for i, seed in enumerate(seeds(name)):
        (corpus / str(i)).write_bytes(seed)

    def once(data: bytes) -> None:
        try:
            target(data)
        except (ValueError, CheckpointError, OSError):
            return

    warnings.simplefilter("ignore")
    atheris.Setup([sys.argv[0], *rest, str(corpus)], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
