"""ImageNet-Segmentation: gtsegs_ijcv.mat, a MATLAB file in HDF5, once it is sure what it unpacks to.

HDF5 unpacks whole pieces, whatever size they turn out to have. So they are unpacked here first, up to the size that
they are declared with.
"""

import zlib
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxclip.data.masks.source import Masked, checked
from jaxclip.files.plain import again, open_plain

DEFLATE, SHUFFLE, CHECKSUM = 1, 2, 3
"""HDF5's numbers of the filters that MATLAB and h5py write; of others nobody here knows what they unpack to."""


class ImageNetSegmentation:
    """The 4,276 pictures of gtsegs_ijcv.mat: object and background.

    `value/img` refers to each picture [channel, width, height], `value/gt` to a list of masks [width, height] of which
    the first counts, as in the released evaluations.

    Source: Guillaumin, Küttel and Ferrari, "ImageNet Auto-Annotation with Segmentation Propagation" (IJCV 2014).
    """

    kind = "imagenet-segmentation"
    class_names = None

    def __init__(self, path: Path):
        try:
            import h5py
        except ImportError as error:
            raise ValueError(f"{path.name} needs h5py to be read: pip install 'jaxclip[segmentation]'.") from error
        self._path = path
        try:
            with open_plain(path) as file:  # HDF5 would wait for a pipe that took its place
                self._file = h5py.File(again(file), "r")
            # Asked about before they are followed: HDF5 opens what they lead to, a pipe too.
            for name in ("value", "value/img", "value/gt"):
                if not isinstance(self._file.get(name, getlink=True), h5py.HardLink):
                    raise ValueError(f"{name} is not there, or a link, and those may lead into another file")
            # h5py types an entry as anything a file may hold; what these are is checked below.
            self._images: Any = self._file["value/img"]
            self._masks: Any = self._file["value/gt"]
            if {array.dtype.kind for array in (self._images, self._masks)} != {"O"}:
                raise ValueError("they must be arrays of references")
            _check_pieces(self._images)
            _check_pieces(self._masks)
        except Exception as error:  # HDF5 raises whatever comes up
            raise ValueError(
                f"{path} must be HDF5 with value/img and value/gt, as gtsegs_ijcv.mat is: {error}"
            ) from error

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Masked:
        name = f"{index:05d}"
        try:
            pixels = self._array(self._images[index, 0], 3).T
            held: Any = self._file[self._masks[index, 0]]
            _check_pieces(held)
            mask = self._array(held[0, 0], 2).T
            return checked(name, Image.fromarray(pixels).convert("RGB"), mask.astype(np.int32))
        except Exception as error:  # HDF5 raises whatever comes up
            raise ValueError(f"{name} of {self._path} cannot be read: {error}") from error

    def _array(self, reference: Any, rank: int) -> np.ndarray:
        """Pixels that lie in this file, and no more of them than a picture may have."""
        held: Any = self._file[reference]
        if held.ndim != rank or held.dtype.kind not in "uibf" or held.size > _most(held.size):
            raise ValueError(f"expected pixels with {rank} axes; got {held.dtype} {list(held.shape)}")
        _check_pieces(held)
        return np.asarray(held)


def _most(asked: int) -> int:
    """Numbers in the largest picture that Pillow would open; all that are asked for where it has no limit."""
    return 3 * (Image.MAX_IMAGE_PIXELS or asked)


def _check_pieces(held: Any) -> None:
    """Refuse what lies in another file, and pieces larger than a picture or than they are declared with."""
    if held.is_virtual or held.external:
        raise ValueError("what it holds lies in another file")
    if held.chunks is None:  # stored as it is
        return
    declared = prod(held.chunks)
    if declared > _most(declared):
        raise ValueError(f"it is stored in pieces of {list(held.chunks)}, larger than a picture may be")
    how = held.id.get_create_plist()
    filters = [how.get_filter(i)[0] for i in range(how.get_nfilters())]
    if set(filters) - {DEFLATE, SHUFFLE, CHECKSUM} or filters.count(DEFLATE) > 1:
        raise ValueError(f"it is packed with HDF5's filters {filters}; expected one of gzip at most")
    n_bytes = declared * held.dtype.itemsize + 4 * filters.count(CHECKSUM)
    for place in range(held.id.get_num_chunks()):
        piece = held.id.get_chunk_info(place)
        if piece.size > 2 * n_bytes + 1024:
            raise ValueError(f"a piece of {n_bytes} bytes takes {piece.size}")
        skipped, packed = held.id.read_direct_chunk(piece.chunk_offset)
        is_packed = DEFLATE in filters and not skipped >> filters.index(DEFLATE) & 1
        if is_packed and len(zlib.decompressobj().decompress(packed, n_bytes + 1)) > n_bytes:
            raise ValueError(f"a piece of {n_bytes} bytes unpacks to more")
