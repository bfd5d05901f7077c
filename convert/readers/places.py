"""Where the files of a checkpoint are, and how a JSON file among them is read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from huggingface_hub import constants

from jaxclip.convert.readers.tensors import CheckpointError
from jaxclip.files.plain import is_there
from jaxclip.files.strict_json import read_object


@runtime_checkable
class Files(Protocol):
    """A place that files of a checkpoint are in: a folder or a repository."""

    @property
    def name(self) -> str: ...

    def find(self, name: str) -> Path | None: ...


@dataclass(frozen=True)
class Folder:
    """A folder of the user's: of its links only those count that stay in it, or in the hub's cache."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path)

    def find(self, name: str) -> Path | None:
        """Find a file of the folder; None where there is none.

        Raises:
          CheckpointError: something that is no file has its name, or a link out of the folder: what it leads to would
            be copied into a model that people publish.
        """
        path = self.path / name
        try:
            if not is_there(path):
                return None
        except ValueError as error:
            raise CheckpointError(str(error)) from error
        real, own = path.resolve(), self.path.resolve()
        places = (own, Path(constants.HF_HUB_CACHE).expanduser().resolve())
        blobs = own.parent.parent / "blobs"  # of .../snapshots/COMMIT, wherever the cache was copied to
        if any(real.is_relative_to(place) for place in places) or (
            own.parent.name == "snapshots" and real.parent == blobs
        ):
            return path
        raise CheckpointError(
            f"{path} is a link out of its folder, to {real}, which would be carried into the model; put the file "
            f"itself there, or remove the link."
        )


def read_json(path: Path) -> dict[str, Any]:
    """Read a file that holds a JSON object.

    Raises:
      CheckpointError: the file is huge, not JSON or not an object.
    """
    try:
        return read_object(path, "download it again")
    except ValueError as error:
        raise CheckpointError(str(error)) from error
