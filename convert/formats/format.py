"""What a family of checkpoints is, as one object: every other file asks it and knows no family by name."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Generic, Literal, TypeVar

from jaxclip.config import Activation, ClipConfig, Library, PreprocessConfig, TextConfig, VisionConfig
from jaxclip.convert.readers.places import Files
from jaxclip.convert.readers.tensors import CheckpointError, LazyTensor
from jaxclip.convert.rules import Move, TowerRules, scale_moves, tower_moves
from jaxclip.model.params import text_leaves, text_sizes, vision_leaves, vision_sizes

T = TypeVar("T")


@dataclass(frozen=True)
class Claim(Generic[T]):
    """A value, who says it, and that in words. The words are for people; no decision reads them."""

    value: T
    source: Literal["tag", "files", "caller"]
    words: str


@dataclass(frozen=True)
class Towers:
    """The architecture without its preprocessing.

    Attributes:
      text_missing: why there is no text tower.
      defaults: the values that the format's own rule supplied.
      text_cfg: OpenCLIP's description of the text side, which names the tokenizer; None in other formats.
      activation_words: what to say of the activation beside who said it.
    """

    vision: VisionConfig
    text: TextConfig | None
    text_missing: str | None
    defaults: tuple[str, ...]
    text_cfg: Mapping[str, Any] | None = None
    activation_words: str = ""

    def config(self, name: str, preprocess: PreprocessConfig) -> ClipConfig:
        """Join the towers and their preprocessing to the configuration of a checkpoint."""
        return ClipConfig(
            name=name, vision=self.vision, text=self.text, preprocess=preprocess, text_missing=self.text_missing
        )


def differences(one: Towers, other: Towers) -> Iterator[tuple[str, Any, Any]]:
    """List each field in which two architectures differ, and both values; a tower that one lacks is left out."""
    for tower in ("vision", "text"):
        first, second = (_by_pool(getattr(towers, tower)) for towers in (one, other))
        for entry in fields(first) if first and second else ():
            ours, theirs = getattr(first, entry.name), getattr(second, entry.name)
            if ours != theirs:
                yield f"{tower} {entry.name}", ours, theirs


def _by_pool(tower: Any) -> Any:
    """Reduce a text tower's pool to what it computes.

    An end of text that is the highest id of all is what `argmax` finds, and by another pool it is not looked for.
    """
    if not isinstance(tower, TextConfig) or (tower.pool == "eos" and tower.eos_id != tower.vocab_size - 1):
        return tower
    return replace(tower, pool="argmax" if tower.pool == "eos" else tower.pool, eos_id=None)


def pair(size: Any) -> tuple[int, int]:
    """Read (height, width) from a size that may be one number."""
    if type(size) is int:
        return size, size
    if isinstance(size, list | tuple) and len(size) == 2 and all(type(n) is int for n in size):
        return size[0], size[1]
    raise CheckpointError(f"a size must be one integer or [height, width]; got {size!r}.")


def _accept(*_given: Any) -> None:
    """Refuse nothing."""


@dataclass(frozen=True, kw_only=True)
class Writer:
    """A library's way of describing a model in a JSON file beside its weights.

    Attributes:
      name: the library, as sentences call it.
      file: the name of the description.
      weights: the names of its weight files; of several that are there the first counts.
      variant: a pattern of further names that such a file may have.
      claims: whether the JSON of a file of that name describes this family; families that share a name are asked in
        the order of `FORMATS`.
      towers: the architecture that the JSON means; an activation that is passed is a pretrained tag's.
      images: the JSON about preprocessing, of the description or of a file in the same place.
      preprocess: what that JSON means for images of (height, width); None where it is silent.
      check_home: refuses a place whose weights are not all of the model.
      resizes: whether positions of other images are resized to the described size unasked.
      brings_tokenizer: whether the tokenizer's files always come with it.
    """

    name: str
    file: str
    weights: tuple[str, ...]
    variant: re.Pattern[str] | None = None
    claims: Callable[[Mapping[str, Any]], bool]
    towers: Callable[[Mapping[str, Any], Activation | None], Towers]
    images: Callable[[Mapping[str, Any], Files | None], Any]
    preprocess: Callable[[Any, tuple[int, int]], Claim[PreprocessConfig] | None]
    check_home: Callable[[Files], None] = _accept
    resizes: bool
    brings_tokenizer: bool

    def names(self, file: str) -> bool:
        """Tell whether a weight file has one of this library's names."""
        return file in self.weights or bool(self.variant and self.variant.fullmatch(file))


@dataclass(frozen=True)
class Description:
    """A description file that was read: its JSON, and the JSON about preprocessing where it counts."""

    writer: Writer
    fields: Mapping[str, Any]
    images: Any = None

    def towers(self) -> Towers:
        """Read the architecture that the file describes.

        Raises:
          CheckpointError: it is one that is not read, by name.
        """
        return self.writer.towers(self.fields, None)


@dataclass(frozen=True, kw_only=True)
class Format:
    """A family of checkpoints: how its tensors are called and what follows from that.

    Attributes:
      name: as provenance keeps it.
      words: what a checkpoint of it is, in words.
      library: whose way pictures are prepared, texts cleaned and positions resized.
      anchor: the tensor that every image tower has, by which a CLIP is found in a file.
      detects: whether the names of a CLIP's tensors are this family's.
      check: refuses names that are no whole CLIP's; takes the names and what to call the checkpoint.
      vision: rules of the image tower.
      text: rules of the text tower for its config and the names that there are.
      ignored: patterns of tensors that hold no weight: sizes, masks and counters that the architecture already says.
      ignored_text: patterns of the weights of a text tower that is not one of ours.
      writer: whose description these weights come with.
      towers: the architecture that the tensors' shapes say, for a family that needs no description.
      preprocess: the preprocessing that all checkpoints of the family share.
      scripted: whether a TorchScript archive of it computes what its weights alone do.
      clip_options, own_options: of CLIP's tokenizer and of one that the checkpoint brings.
    """

    name: str
    words: str
    library: Library
    anchor: str
    detects: Callable[[set[str]], bool]
    check: Callable[[set[str], str], None] = _accept
    vision: TowerRules
    text: Callable[[TextConfig, set[str]], TowerRules]
    ignored: tuple[str, ...]
    ignored_text: tuple[str, ...] = ()
    writer: Writer
    towers: Callable[[Mapping[str, LazyTensor]], Claim[Towers]] | None = None
    preprocess: Callable[[tuple[int, int]], Claim[PreprocessConfig]] | None = None
    scripted: bool = True
    clip_options: Mapping[str, Any] = field(default_factory=dict)
    own_options: Mapping[str, Any] = field(default_factory=dict)

    def moves(self, config: ClipConfig, names: set[str]) -> list[Move]:
        """List every move that a checkpoint of this config takes, its layers written out.

        Args:
          config: decides which weights there must be.
          names: the checkpoint's own names; read only where the format has two ways to store the same weight.
        """
        found = tower_moves(self.vision, "vision", vision_leaves(config.vision), vision_sizes(config.vision))
        if config.text is not None:
            rules = self.text(config.text, names)
            found += tower_moves(rules, "text", text_leaves(config.text), text_sizes(config.text))
        return found + scale_moves(names)
