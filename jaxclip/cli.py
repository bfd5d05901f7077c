"""The command line: arguments in, library calls, files out.

Heavy imports wait inside the commands, so that `jaxclip --help` answers at once.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro
from tyro.conf import Positional

DType = Literal["float32", "bfloat16", "float16"]


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


@dataclass(frozen=True)
class Run:
    """Run a model over a data set once, for all the analyses that follow. Interrupted, the same command goes on.

    jaxclip run ViT-B-16/laion2b_s34b_b88k photos/ --out photos_run
    """

    model: Positional[str]
    """A converted folder or anything convert takes; "scenes" is the model that comes with jaxclip."""
    data: Positional[str]
    """A folder of images, a folder per class, a list (.csv, .tsv, .txt), a Waterbirds or ImageNet folder, a tfds folder
    or name, or "scenes"."""
    out: Path
    """The folder of the run: a new one, or that of the same run to go on with."""
    kind: Literal["folder", "classes", "list", "waterbirds", "imagenet", "tfds", "scenes"] | None = None
    """What the data is, where that cannot be told from what lies there."""
    split: str | None = None
    """Of data sets that have splits."""
    limit: int | None = None
    """Only the first so many images."""
    batch: int = 32
    """Images of one step."""
    moments: bool = True
    """Collect moments of every head, MLP and init: megabytes, for any number of images."""
    by: tuple[str, ...] = ()
    """Kinds of label, such as label or group: collect moments for each of their values as well."""
    bank: bool = False
    """Store every image's terms: for ablation, debiasing and retrieval without the model."""
    bank_dtype: Literal["float32", "float16"] = "float32"
    """Of the stored terms."""
    units: Literal["normalized", "raw"] = "normalized"
    """Terms divided by the norm of their image's embedding, as in the paper, or as they are."""
    apply_exif: bool = False
    """Turn photographs as their EXIF tag says; OpenCLIP does not."""
    dtype: DType = "float32"
    """The model calculates in."""
    image_size: int | None = None
    """Run at another input size, with resized position embeddings."""
    threads: int | None = None
    """That read images; by default one for each processor, at most 16."""
    save_every: float = 60.0
    """Seconds between saved states: what an interruption can cost."""

    def run(self) -> dict[str, Any]:
        import jaxclip
        from jaxclip.data.sources import open_data
        from jaxclip.passes import PassOptions, run_pass
        from jaxclip.report.progress import bar

        options = PassOptions(
            batch=self.batch, moments=self.moments, by=self.by, bank=self.bank, bank_dtype=self.bank_dtype,
            units=self.units, apply_exif=self.apply_exif,
        )  # fmt: skip
        source = open_data(self.data, kind=self.kind, split=self.split, limit=self.limit)
        options.check(source)
        clip = jaxclip.load(resolve(self.model), dtype=self.dtype, image_size=self.image_size)
        try:
            with bar(clip.config.name) as progress:
                run = run_pass(
                    clip, source, self.out, options, model=self.model, data=self.data, save_every=self.save_every,
                    n_threads=self.threads, progress=progress,
                )  # fmt: skip
        except KeyboardInterrupt as interrupt:
            raise Failed("interrupted; the same command goes on where it was", {}) from interrupt
        say(f"wrote {self.out}: {run.n_images} images")
        if run.unreadable:
            name, reason = run.unreadable[0]
            say(f"{len(run.unreadable)} images could not be read, the first is {name}: {reason}")
        unreadable = [{"name": name, "reason": reason} for name, reason in run.unreadable]
        return {"folder": str(self.out), "n_images": run.n_images, "unreadable": unreadable}


@dataclass(frozen=True)
class Demo:
    """The whole way on real input, with the small CLIP that comes with jaxclip: convert, verify, classify, explain.

    jaxclip demo
    """

    out: Path = Path("demo_out")
    """A folder for results.json and the figures; replaced if it is an earlier demo's."""
    n_scenes: int = 600
    """Held-out scenes to classify."""

    def run(self) -> dict[str, Any]:
        from jaxclip.demo import demo

        return demo(self.out, self.n_scenes, say)


COMMANDS = {"convert": Convert, "verify": Verify, "decompose": Decompose, "run": Run, "demo": Demo}


class Failed(Exception):
    """A command that ran to its end and found something wrong; `result` is still worth printing."""

    def __init__(self, message: str, result: dict[str, Any]):
        super().__init__(message)
        self.result = result


def resolve(source: str) -> str:
    """ "scenes" is the shipped checkpoint, unless something of that name lies here."""
    if source == "scenes" and not Path(source).exists():
        from jaxclip.data.scenes import CHECKPOINT

        return str(CHECKPOINT)
    return source


def say(text: str) -> None:
    """For people; standard output is kept for results."""
    print(text, file=sys.stderr, flush=True)


def write_json(path: Path, result: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")


def main(arguments: list[str] | None = None) -> None:
    """Entry point: exit status 0 when all is well, 1 for a finding or an error told in one line, 2 for bad usage."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug, as_json = (flag in arguments and not arguments.remove(flag) for flag in ("--debug", "--json"))
    command = tyro.extras.subcommand_cli_from_dict(
        COMMANDS, prog="jaxclip", description=DESCRIPTION, args=arguments or ["--help"], sort_subcommands=False
    )
    status, result = 0, None
    try:
        result = command.run()
    except Failed as failure:
        status, result = 1, failure.result
        say(f"jaxclip: {failure}")
    except (ValueError, OSError) as error:
        if debug:
            raise
        say(f"jaxclip: {' '.join(str(error).split())}")
        status = 1
    if as_json and result is not None:
        print(json.dumps(result, indent=1))
    sys.exit(status)


DESCRIPTION = """CLIP's image embedding as a sum over layers, heads and image patches.

--json prints a command's result for scripts, --debug shows tracebacks."""
