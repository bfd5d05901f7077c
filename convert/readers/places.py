"""Where the files of a checkpoint are, and the JSON among them that says what it is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from huggingface_hub import constants

from jaxclip.convert.formats.preprocess import HF_KEYS
from jaxclip.convert.readers.tensors import CheckpointError
from jaxclip.files.plain import is_there
from jaxclip.files.strict_json import read_object

OPENCLIP_CONFIG, HF_CONFIG, HF_ADAPTER = "open_clip_config.json", "config.json", "adapter_config.json"
HF_PREPROCESSOR, HF_PROCESSOR = "preprocessor_config.json", "processor_config.json"  # on its own, or within the other


@runtime_checkable
class Files(Protocol):
    """Where the files of a checkpoint are: a folder or a repository."""

    @property
    def name(self) -> str: ...

    def find(self, name: str) -> Path | None: ...


@dataclass(frozen=True)
class Folder:
    """A folder of somebody's: of its links only those count that stay in it, or in the hub's cache."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path)

    def find(self, name: str) -> Path | None:
        """A file, or None where there is none.

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


def check_no_adapter(home: Files) -> None:
    """Refuse a folder whose weights are not all of its model.

    Raises:
      CheckpointError: there is an adapter, with how to merge it.
    """
    if home.find(HF_ADAPTER) is not None:
        raise CheckpointError(
            f"{home.name} holds an adapter of peft ({HF_ADAPTER}), without which its CLIP is another model; merge it: "
            f"PeftModel.from_pretrained(CLIPModel.from_pretrained(BASE), {home.name!r}).merge_and_unload()"
            f".save_pretrained(FOLDER). For a CLIP without it name the weight file."
        )


def find_preprocessor(home: Files) -> dict[str, Any] | None:
    """Hugging Face's description of the preprocessing, from the file of its own or from the processor's.

    Raises:
      CheckpointError: both are there and say different things.
    """
    alone, whole = home.find(HF_PREPROCESSOR), home.find(HF_PROCESSOR)
    said = read_json(alone) if alone else None
    within = read_json(whole).get("image_processor") if whole else None
    if not isinstance(within, dict):
        return said
    differing = [
        key for key in within if said is not None and key in said and key in HF_KEYS and said[key] != within[key]
    ]
    if differing:
        raise CheckpointError(
            f"{HF_PREPROCESSOR} and {HF_PROCESSOR} disagree on {', '.join(differing)}; remove the one that is wrong."
        )
    return within


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a file.

    Raises:
      CheckpointError: the file is huge, not JSON or not an object.
    """
    try:
        return read_object(path, "download it again")
    except ValueError as error:
        raise CheckpointError(str(error)) from error
