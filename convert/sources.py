"""Where a checkpoint is, what its description says, and its named, unread tensors, in that order."""

import re
from dataclasses import dataclass
from pathlib import Path

from jaxclip.convert.descriptions import check_no_wrapper, choose, described_in
from jaxclip.convert.families import check_network
from jaxclip.convert.formats import detect, format_of, writer_of, writers
from jaxclip.convert.formats.format import Description, Format, Writer
from jaxclip.convert.formats.openclip import OPENCLIP_CONFIG
from jaxclip.convert.readers.hub import Repository, parse_repository
from jaxclip.convert.readers.places import Files, Folder, read_json
from jaxclip.convert.readers.tensors import CheckpointError, LazyTensor
from jaxclip.convert.registry import (
    MISLABELLED,
    Tag,
    check_other,
    check_spelling,
    find_tag,
    meant,
    model_cfg,
    model_names,
    tags,
)
from jaxclip.convert.state_dicts import State, clip_weights
from jaxclip.convert.weight_files import WEIGHT_SUFFIXES, open_weights, shards, weight_files
from jaxclip.files.atomic import where_left
from jaxclip.files.plain import expanded, is_there

TAG_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


@dataclass(frozen=True)
class Source:
    """A checkpoint whose tensors are unread, or not known yet.

    Attributes:
      label: what the user asked for.
      tensors: by name, none where only the description was read.
      format: the family of its tensors' names; of a description alone, that of the weights it is for.
      files: the weight files.
      home: where its configuration and tokenizer may be.
      place: the keys and the prefix that lead to the CLIP in its files.
      tag: the pretrained tag, where the name was one.
      description: what a file beside the weights says, where there is one.
      aside: another library's description in the same place, which the weights do not follow.
    """

    label: str
    tensors: dict[str, LazyTensor]
    format: Format
    files: tuple[Path, ...]
    home: Files | None
    place: str = ""
    tag: Tag | None = None
    description: Description | None = None
    aside: Description | None = None


@dataclass(frozen=True)
class Located:
    """A checkpoint that was found, of whose weights nothing was fetched or opened; what describes it was read.

    Attributes:
      label: what the user asked for.
      home: the folder or repository.
      file: the weight file, where one was named.
      tag: the pretrained tag, where the name was one.
      descriptions: of the libraries that describe it, at most one each.
    """

    label: str
    home: Files
    file: Path | None = None
    tag: Tag | None = None
    descriptions: tuple[Description, ...] = ()

    def described(self) -> Source | None:
        """Make a source without tensors of the name or the description; None where there is none, or two.

        Raises:
          CheckpointError: it describes what is not read.
        """
        if self.tag is not None:
            return Source(self.label, {}, format_of(_tag_writer(self.tag)), (), self.home, tag=self.tag)
        if len(self.descriptions) != 1:
            return None
        (said,) = self.descriptions
        said.towers()
        form = format_of(said.writer)
        return Source(self.label, {}, form, (), self.home, **choose(self.descriptions, form, self.home))

    def is_settled(self) -> bool:
        """Tell whether opening the weights could not change what the description says.

        Their names decide between two descriptions, and whose way pictures go where the weights have not the usual
        file name of the library that the description is of.
        """
        if self.tag is not None:
            return True
        if len(self.descriptions) != 1:
            return False
        writer = self.descriptions[0].writer
        if self.file is not None:
            return writer.names(self.file.name)
        if not isinstance(self.home, Folder):
            return True
        held = [path.name for path in self.home.path.iterdir() if path.suffix in WEIGHT_SUFFIXES]
        usual = any(self.home.find(name) is not None for name in writer.weights)
        return usual or set(held) <= set(writer.weights)

    def open(self, key: str | None = None) -> Source:
        """Fetch the weight files where needed, and open them.

        Args:
          key: where in its files the CLIP is, as in `state_dicts.clip_weights`.

        Raises:
          FileNotFoundError: there are none.
          CheckpointError: they cannot be read, or hold no whole CLIP.
        """
        descriptions, home = self.descriptions, self.home
        if self.tag is not None:
            assert isinstance(home, Repository)
            files = (home.file(*TAG_WEIGHTS),)
            own = home.cached(OPENCLIP_CONFIG)
            descriptions = (Description(_tag_writer(self.tag), read_json(own)),) if own else ()
        elif self.file is not None:
            files = shards(self.file, home) if self.file.name.endswith(".index.json") else (self.file,)
        else:
            files = self._files_at_home()
        tables, scripted = _tables(files)
        tensors, place = clip_weights(tables, key, self.label)
        form = _format(set(tensors), self.label)
        if scripted and not form.scripted:
            raise CheckpointError(
                f"{self.label} is a TorchScript archive, but not of OpenAI's CLIP; save its state dict instead."
            )
        beside = None if self.file is not None and not descriptions else home
        chosen = choose(descriptions, form, beside)
        return Source(self.label, tensors, form, files, beside, place, self.tag, **chosen)

    def _files_at_home(self) -> tuple[Path, ...]:
        asked = tuple(description.writer for description in self.descriptions) or writers()
        for writer in asked:
            writer.check_home(self.home)
        if not self.descriptions:
            check_no_wrapper(self.home)
            if isinstance(self.home, Repository):
                self.home.file(*dict.fromkeys(writer.file for writer in asked))
        return weight_files(self.home, tuple(dict.fromkeys(name for writer in asked for name in writer.weights)))


def locate(source: str | Path, *, offline: bool = False) -> Located:
    """Find a checkpoint: an existing path first, then "scenes" (which comes with jaxclip), then what `named` finds.

    A configuration beside a single file counts when the file has a name that goes with one.

    Args:
      source: path or name.
      offline: of the hub only what its cache holds; for names that come out of a file and were not typed by the user.

    Raises:
      FileNotFoundError: nothing is there, saying what was looked for.
      CheckpointError: what is there cannot be a checkpoint, or its description cannot be read.
    """
    text = str(source)
    path = expanded(text.removeprefix("local-dir:"))
    if path.is_dir():
        return _at_home(text, Folder(path))
    if is_there(path):
        beside = Folder(path.parent)
        found = described_in(beside) if any(writer.names(path.name) for writer in writers()) else ()
        return Located(text, beside, path, descriptions=found)
    if not isinstance(source, str) or text.startswith("local-dir:"):
        raise FileNotFoundError(f"there is no file or folder {text}.{where_left(Path(text).absolute())}")
    if text == "scenes":
        from jaxclip.data.scenes import CHECKPOINT  # the small CLIP that comes with jaxclip

        return _at_home(text, Folder(CHECKPOINT))
    found = named(text, offline=offline)
    if not isinstance(found, Tag):
        return _at_home(text, found)
    if (found.model, found.tag) in MISLABELLED:
        raise CheckpointError(
            f"open_clip's registry gives {found.name} the repository {found.repository}, which holds other weights; "
            f"download {found.url} and pass the file with like={found.name!r}."
        )
    return Located(text, Repository(found.repository, offline=offline), tag=found)


def _at_home(label: str, home: Files) -> Located:
    return Located(label, home, descriptions=described_in(home))


def _tag_writer(tag: Tag) -> Writer:
    writer = writer_of(OPENCLIP_CONFIG, {"model_cfg": model_cfg(tag.model)})
    assert writer is not None, "every description of OpenCLIP's is claimed"
    return writer


def named(name: str, *, offline: bool = False) -> Tag | Repository:
    """Say what a name that is no path means: `model/tag` of OpenCLIP's native models, or a hub repository.

    The hub is asked for `hf-hub:org/repo`. A plain `org/repo` could as well be a path that is missing: it is only
    looked up in the hub's cache. Of names of OpenCLIP's nothing is looked up.

    Args:
      offline: as `locate` takes it.

    Raises:
      CheckpointError: an architecture without a tag, one that is not read, or a tag that there is not.
      FileNotFoundError: nothing, with what was perhaps meant.
    """
    typed, bare = name.startswith("hf-hub:"), name.removeprefix("hf-hub:")
    model, _, tag = bare.partition("/")
    check_other(re.split(r"[/:,@ ]", bare)[0])
    if model in model_names() and not typed:
        if not tag:
            listed = ", ".join(f"{model}/{known}" for known in tags(model)) or "none: it has no pretrained weights"
            raise CheckpointError(f"{model} is an architecture, not a checkpoint; name one of its tags: {listed}.")
        return find_tag(model, tag)
    check_spelling(name, bare)
    repository = parse_repository(bare, offline=offline or not typed)
    is_file = Path(name).suffix in WEIGHT_SUFFIXES
    near = "" if is_file or typed else meant(bare)
    if repository is not None and not typed and not repository.known and not is_file:
        raise FileNotFoundError(
            f"there is no file or folder {name}{near}; if a hub repository is meant, write hf-hub:{name}."
            f"{where_left(Path(name).absolute())}"
        )
    if repository is None or (is_file and not typed):
        raise FileNotFoundError(
            f"{name} is no file or folder here, no OpenCLIP name such as ViT-B-16/laion2b_s34b_b88k, and no repository "
            f"such as hf-hub:org/repo{near}."
        )
    return repository


def _tables(files: tuple[Path, ...]) -> tuple[dict[str, State], bool]:
    """Open weight files, shards of one table joined; also tell whether one of them is TorchScript's."""
    tables: dict[str, State] = {}
    scripted = False
    for path in files:
        found, is_script = open_weights(path)
        for place, table in found.items():
            twice = sorted(set(table) & set(tables.get(place, ())))
            if twice:
                raise CheckpointError(f"{path.name} holds {twice[0]} again, which another shard holds already.")
            tables.setdefault(place, {}).update(table)
        scripted |= is_script
    return tables, scripted


def _format(names: set[str], label: str) -> Format:
    """Recognise the family of a whole CLIP by its tensors' names.

    Raises:
      CheckpointError: they are an image tower's alone, or no CLIP's.
    """
    form = detect(names)
    check_network(names, label)
    if form is not None:
        form.check(names, label)
        return form
    if {"class_embedding", "conv1.weight"} <= names:
        raise CheckpointError(
            f"{label} holds an image tower alone: put it into the model that it comes from, which has both, and "
            f"save that: model.visual.load_state_dict(...), torch.save(model.state_dict(), 'weights.pt')."
        )
    some = ", ".join(name[:100] for name in sorted(names)[:3]) or "no tensor at all"
    raise CheckpointError(
        f"{label} holds {some}: neither OpenCLIP's names (visual.class_embedding, ...) nor Hugging Face's "
        f"(vision_model.embeddings.class_embedding, ...). Only whole CLIPs with a native ViT tower can be read."
    )
