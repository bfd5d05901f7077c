"""Commands about one model: convert it, prove it, decompose pictures with it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from jaxclip.commands.common import DType, Failed, resolve, say, write_json


@dataclass(frozen=True)
class Convert:
    """Port a checkpoint into a folder that needs nothing else: weights, config, tokenizer, preprocessing, provenance.

    jaxclip convert ViT-B-16/laion2b_s34b_b88k b16
    """

    source: Positional[str]
    """A file, a folder, an OpenCLIP model/tag, or a hub repository (hf-hub:org/repo)."""
    out: Positional[Path]
    """The folder to write; it must not exist."""
    like: str | None = None
    """For weights without a configuration: the model/tag they are like."""
    model: str | None = None
    """For weights without a configuration: the architecture's name, or a JSON file with OpenCLIP's model_cfg."""
    activation: Literal["gelu", "quick_gelu", "gelu_tanh"] | None = None
    """With --model: what the weights were trained with."""
    preprocess: str | None = None
    """With --model: the name of a preprocessing style, such as openai-bicubic-shortest."""
    dtype: DType = "float32"
    """Of the stored weights."""
    image_size: int | None = None
    """Run at another input size, with resized position embeddings."""
    overwrite: bool = False
    """Replace an earlier conversion."""

    def run(self) -> dict[str, Any]:
        from jaxclip.convert import convert

        folder = convert(
            self.source, self.out, like=self.like, model=self.model, activation=self.activation,
            preprocess=self.preprocess, dtype=self.dtype, image_size=self.image_size, overwrite=self.overwrite,
        )  # fmt: skip
        say(f"wrote {folder}")
        return {"folder": str(folder), **json.loads((folder / "provenance.json").read_text())}


@dataclass(frozen=True)
class Verify:
    """Prove on this machine that the parts sum to the whole and, where open_clip is installed, equal PyTorch's.

    jaxclip verify scenes
    """

    source: Positional[str]
    """A converted folder or anything convert takes; "scenes" is the model that comes with jaxclip."""
    out: Path | None = None
    """A JSON file for the table."""
    batch: int = 4
    """Probe images."""

    def run(self) -> dict[str, Any]:
        import jaxclip
        from jaxclip import verify
        from jaxclip.report.tables import print_checks

        source = resolve(self.source)
        clip = jaxclip.load(source)
        images = verify.probe_images(clip, self.batch)
        checks = list(verify.verify(clip, images))
        if missing := verify.without_open_clip():
            say(missing)
        else:
            checks += verify.compare(clip, source, images)
        print_checks(checks, clip.config.name)
        result = {"model": clip.config.name, "checks": [check.to_dict() for check in checks]}
        if self.out:
            write_json(self.out, result)
        if broken := [check.what for check in checks if not check.holds]:
            raise Failed(f"out of tolerance: {'; '.join(broken)}", result)
        return result


@dataclass(frozen=True)
class Decompose:
    """What every layer, head and patch of your pictures says about your texts: figures and a JSON file.

    jaxclip decompose ViT-L-14/openai dog.jpg --texts "a dog" "a cat" --out dog
    """

    model: Positional[str]
    """A converted folder or anything convert takes; "scenes" is the model that comes with jaxclip."""
    images: Positional[tuple[Path, ...]]
    """Pictures of any size."""
    texts: tuple[str, ...]
    """What to ask about; quote each."""
    out: Path
    """A folder for results.json and the figures."""
    relative: bool = True
    """Each text minus the mean of all given; --no-relative for each by itself."""

    def run(self) -> dict[str, Any]:
        import jaxclip
        from jaxclip.report.decomposition import decompose_pictures

        clip = jaxclip.load(resolve(self.model))
        result = decompose_pictures(clip, self.images, self.texts, self.out, relative=self.relative)
        say(f"wrote {self.out / 'results.json'} and {2 * len(self.images)} figures")
        return result
