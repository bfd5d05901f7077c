"""Commands about one model: convert it, prove it, decompose pictures with it."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from jaxclip.cli.checks import (
    Failed,
    check_file,
    check_folder,
    check_least,
    check_picture,
    check_texts,
    pictures,
    resolve,
    say,
    write_json,
)
from jaxclip.config import DType, Library


@dataclass(frozen=True)
class Convert:
    """Port a checkpoint into a folder that needs nothing else: weights, config, tokenizer, preprocessing, provenance.

    jaxclip convert scenes scenes_model
    """

    source: Positional[Annotated[str, arg(metavar="SOURCE")]]
    """A file, a folder, an OpenCLIP model/tag such as ViT-B-16/laion2b_s34b_b88k, or a hub repository
    (hf-hub:org/repo)."""
    out: Positional[Annotated[Path, arg(metavar="FOLDER")]]
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
    key: str | None = None
    """For a file with several CLIPs, or with other weights beside one: where it is, such as state_dict_ema."""
    overwrite: bool = False
    """Replace an earlier conversion."""

    def run(self) -> dict[str, Any]:
        check_folder(self.out)
        check_least(image_size=self.image_size)
        # Of several writes that fail Orbax waits for one; asyncio tells of the others when the process ends.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        from jaxclip.report.stages import stages

        with stages("convert") as at:
            at("starting")
            from jaxclip.convert import convert  # pyright: ignore[reportMissingImports]

            at(f"{self.source} to {self.out}")
            folder = convert(
                resolve(self.source), self.out, like=self.like, model=self.model, activation=self.activation,
                preprocess=self.preprocess, dtype=self.dtype, image_size=self.image_size, key=self.key,
                overwrite=self.overwrite,
            )  # fmt: skip
        from jaxclip.files import checkpoint
        from jaxclip.report.recognised import recognised

        provenance = checkpoint.provenance(folder)
        found = recognised(checkpoint.described(folder)[0], provenance)
        for name, what in found.items():
            say(f"{name + ':':<15} {what}")
        say(f"wrote {folder}")
        return {"folder": str(folder), "recognised": found, **provenance}


@dataclass(frozen=True)
class Verify:
    """Prove that the parts sum to the whole and, where PyTorch is installed, equal its own, picture file to head.

    jaxclip verify scenes
    """

    source: Positional[Annotated[str, arg(metavar="MODEL")]]
    """A converted folder or anything convert takes; "scenes" is the model that comes with jaxclip."""
    images: tuple[Path, ...] = ()
    """Picture files to compare from the file on; by default some are drawn, in every mode and of awkward sizes."""
    out: Path | None = None
    """A JSON file for the table."""
    batch: int = 4
    """Probe images."""

    def run(self) -> dict[str, Any]:
        check_file(self.out)
        check_least(batch=self.batch)
        for path in self.images:
            check_picture(path)
        from jaxclip.report.stages import stages

        with stages("verify") as at:
            at("starting")
            import jaxclip
            from jaxclip import verify
            from jaxclip.cli.inputs import model_config
            from jaxclip.report.tables import print_checks
            from jaxclip.verify import own_library
            from jaxclip.verify.picture_files import against_libraries

            source = resolve(self.source)
            library = model_config(source, texts=False).preprocess.library
            asked: tuple[Library, ...] = ("open_clip",) if library == "open_clip" else (library, "open_clip")
            missing = {name: own_library.lacking(name) for name in asked}
            for sentence in filter(None, missing.values()):
                say(sentence)
            at("loading the model")
            clip = jaxclip.load(source)
            images = verify.probe_images(clip, self.batch)
            at("the sum, in every detail and convention")
            checks = list(verify.verify(clip, images))
            at("the checkpoint's own library")
            there: list[Library] = [name for name in asked if missing[name] is None]
            compared, notes = against_libraries(clip, source, images, self.images, there)
            checks += compared
        for note in notes:
            say(note)
        print_checks(checks, clip.config.name)
        said = [*filter(None, missing.values()), *notes]
        result = {"model": clip.config.name, "checks": [check.to_dict() for check in checks], "said": said}
        if self.out:
            write_json(self.out, result)
        if broken := [check.what for check in checks if not check.holds]:
            raise Failed(f"out of tolerance: {'; '.join(broken)}", result)
        return result


@dataclass(frozen=True)
class Decompose:
    """What every layer, head and patch of your pictures says about your texts: figures and a JSON file.

    jaxclip decompose scenes scenes/7 --texts "a star" "a circle" "grass" --out scenes_decomposed
    """

    model: Positional[Annotated[str, arg(metavar="MODEL")]]
    """A converted folder or anything convert takes; "scenes" is the model that comes with jaxclip."""
    images: Positional[Annotated[tuple[Path, ...], arg(metavar="IMAGE [IMAGE ...]")]]
    """Pictures of any size; scenes/7 is one that is drawn."""
    texts: tuple[str, ...]
    """What to ask about; quote each."""
    out: Path
    """A folder for results.json and the figures."""
    relative: bool = True
    """Each text minus the mean of all given; --no-relative for each by itself."""
    apply_exif: bool = False
    """Turn photographs as their EXIF tag says; CLIP's libraries do not."""
    format: tuple[Literal["png", "svg", "pdf"], ...] = ("png",)
    """Of the figures."""

    def run(self) -> dict[str, Any]:
        if not self.images or not self.texts:
            raise ValueError('nothing to decompose: name a picture, and at least one text such as --texts "a dog".')
        check_texts(self.texts)
        check_folder(self.out)
        from jaxclip.numerics.arrays import counted
        from jaxclip.report.stages import stages

        with stages("decompose") as at:
            at("starting")
            import jaxclip
            from jaxclip.cli.inputs import model_config, say_cut
            from jaxclip.report.decompose import decompose_pictures, print_decomposition

            model_config(self.model)
            images = pictures(self.images, self.out)
            at("loading the model")
            clip = jaxclip.load(resolve(self.model))
            at("pictures")
            result = decompose_pictures(
                clip, images, self.texts, self.out, relative=self.relative, formats=self.format,
                apply_exif=self.apply_exif or None,
            )  # fmt: skip
        say_cut(clip, self.texts)
        print_decomposition(result)
        say(f"wrote {self.out / 'results.json'} and {counted(2 * len(self.images) * len(self.format), 'figure')}")
        return result
