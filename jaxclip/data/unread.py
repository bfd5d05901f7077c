"""Layouts that are known and not read: what to do instead, before anything else is made of them."""

from pathlib import Path

PICKLED = {"CIFAR-10": ("batches.meta", "data_batch_1"), "CIFAR-100": ("meta", "train", "test")}
"""Files of CIFAR's Python version, which have no suffix."""
BINARY = ("cifar-10-batches-bin", "cifar-100-binary")


def refuse_unread(root: Path) -> None:
    """Refuse what Hugging Face's datasets saved, their tables, and CIFAR's pickles, in a folder or in one inside it.

    Raises:
      ValueError: it is one of them, saying what to pass.
    """
    if binary := [root / name for name in BINARY if (root / name).is_dir()]:
        raise ValueError(f"{root} holds CIFAR; pass {binary[0]}.")
    for place in (root, *sorted(path for path in root.iterdir() if path.is_dir())):
        if (table := place / "metadata.parquet").is_file():
            raise ValueError(
                f"{table} is a table of Hugging Face's imagefolder in a format that is not read, and the labels are in "
                f"it; write it as {place / 'metadata.csv'} (pandas.read_parquet(...).to_csv(..., index=False)), or "
                f"take the file away to go by the folders alone."
            )
    for place in (root, *sorted(path for path in root.iterdir() if path.is_dir())):
        if name := next((name for name, files in PICKLED.items() if _pickled(place, files)), None):
            raise ValueError(
                f"{place} is {name}'s Python version, made of pickles, which can run code when they are read; pass "
                f"the folder of {name}'s binary version (or what tfds prepared)."
            )
        if _saved(place):
            raise ValueError(
                f"{place} was written by save_to_disk of Hugging Face's datasets, whose tables are not read; write its "
                f"images to a folder per class, or to a folder with a metadata.csv (file_name,label), and pass that."
            )


def _pickled(root: Path, files: tuple[str, ...]) -> bool:
    # Folders train and test are splits; these are files.
    return all((root / name).is_file() for name in files)


def _saved(root: Path) -> bool:
    said = (root / "dataset_dict.json").is_file() or (root / "state.json").is_file()
    return said and ((root / "dataset_dict.json").is_file() or (root / "dataset_info.json").is_file())
