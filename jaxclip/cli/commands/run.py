"""`jaxclip run`: a model over a data set, once, for all the analyses that follow."""

from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from jaxclip.cli.checks import Failed, check_folder, check_least, resolve, say
from jaxclip.cli.surroundings import check_platform
from jaxclip.config import DType, Precision

SAID = 2**26
"""Bytes that a run keeps from which on it says so before it begins."""


@dataclass(frozen=True)
class Run:
    """Run a model over a data set once, for all the analyses that follow. Interrupted, the same command goes on.

    jaxclip run scenes scenes --split test --limit 600 --bank --out scenes_run
    """

    model: Positional[Annotated[str, arg(metavar="MODEL")]]
    """A converted folder or anything convert takes; "scenes" is the model that comes with jaxclip."""
    data: Positional[Annotated[str, arg(metavar="DATA")]]
    """A folder of images, a folder per class, a list of paths and labels (.csv, .tsv, .txt), a folder with a
    metadata.csv (imagefolder), a Waterbirds, CUB, CIFAR or ImageNet folder, a tfds folder or name, FILE.py:NAME for
    a source of your own, or "scenes"."""
    out: Path
    """The folder of the run: a new one, or that of the same run to go on with."""
    kind: (
        Literal[
            "folder", "classes", "tree", "list", "imagefolder", "waterbirds", "cub", "cifar", "imagenet", "tfds",
            "scenes"
        ]
        | None
    ) = None  # fmt: skip
    """What the data is, where that cannot be told from what lies there; tree is all images at any depth, without
    labels."""
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
    """Turn photographs as their EXIF tag says; CLIP's libraries do not."""
    dtype: DType = "float32"
    """The model calculates in."""
    precision: Precision = "highest"
    """Of float32 products, on hardware that can cut them short: "tensorfloat32" is what a GPU does fast."""
    image_size: int | None = None
    """Run at another input size, with resized position embeddings."""
    threads: int | None = None
    """That read images; by default one for each processor, at most 16."""
    decoding: float = 1.0
    """GiB that pictures may take together while they are decoded: fewer at once, with the same result."""
    memory: float = 8.0
    """GiB that moments may take on a device or a host, many values of --by among them; more is refused at once."""
    disk: float | None = None
    """GiB that the run may take on disk; by default what is free."""
    save_every: float = 60.0
    """Seconds between saved states: what an interruption can cost."""
    contents: bool = False
    """Compare the data's files by what they hold, not by size, time and inode: each is read twice more."""
    accept: tuple[Literal["code", "machine", "files"], ...] = ()
    """Go on with a pass although this differs: "code" of jaxclip, the "machine", or "files" that were copied or
    moved. The numbers may then differ in their last bits, and the run says so."""
    parts: int | None = None
    """Of every batch, that hosts can share out: a multiple of their number. By default the largest number that divides
    both the batch and 16."""
    model_axis: int = 1
    """Devices of one host that share one copy of the weights, each with its part of the heads and neurons."""
    coordinator: str | None = None
    """One of several hosts: address:port of host 0. Cloud TPU, SLURM, Kubernetes and Open MPI are known without."""
    hosts: int | None = None
    """How many there are."""
    host: int | None = None
    """Which one this is, from 0."""

    def run(self) -> dict[str, Any]:
        check_folder(self.out)
        check_least(limit=self.limit, batch=self.batch, threads=self.threads, image_size=self.image_size)
        check_least(parts=self.parts, model_axis=self.model_axis, hosts=self.hosts)
        if not self.save_every >= 0:
            raise ValueError(f"--save-every must be 0 seconds or more; got {self.save_every:g}.")
        for name in ("decoding", "memory", "disk"):
            if (limit := getattr(self, name)) is not None and not 0 <= limit < float("inf"):
                raise ValueError(f"--{name} must be 0 GiB or more; got {limit:g}.")
        from jaxclip.report.stages import stages

        with stages("run") as at:
            at("starting")
            from jaxclip.devices import cluster
            from jaxclip.devices.hosts import Stopped

        where = self.coordinator, self.hosts, self.host
        try:
            with cluster.joined(say, *where) if cluster.several(*where) else nullcontext():
                return self._run()
        except Stopped as stopped:
            raise Failed(f"{stopped}; the same command goes on", {}, cluster.AGAIN) from stopped
        except KeyboardInterrupt as interrupt:
            raise Failed("interrupted; the same command goes on where it was", {}, cluster.AGAIN) from interrupt

    def _run(self) -> dict[str, Any]:
        import jaxclip
        from jaxclip.analyses.smells import size_smell
        from jaxclip.cli.inputs import model_config
        from jaxclip.config import Compute
        from jaxclip.data.found import described, some_sizes, summary
        from jaxclip.data.open_data import open_data
        from jaxclip.devices import cluster, hosts, sharding
        from jaxclip.numerics.arrays import counted
        from jaxclip.report.progress import bar
        from jaxclip.report.recognised import model_line
        from jaxclip.report.stages import stages
        from jaxclip.runs.folder import check_goes_on, check_place, outline
        from jaxclip.runs.run_pass import PassOptions, run_pass
        from jaxclip.runs.size import check_size

        check_platform()
        check_place(self.out)
        options = PassOptions(
            batch=self.batch, moments=self.moments, by=self.by, bank=self.bank, bank_dtype=self.bank_dtype,
            units=self.units, apply_exif=self.apply_exif, parts=self.parts,
        )  # fmt: skip
        source = open_data(self.data, kind=self.kind, split=self.split, limit=self.limit)
        mesh = sharding.make_mesh(model=self.model_axis) if self.model_axis != 1 else sharding.default_mesh()
        options.check(source)
        config = model_config(self.model, image_size=self.image_size, texts=False)
        order, _ = options.check_shared(config.vision, len(source), mesh)
        size = options.size(config.vision, source, mesh)
        hosts.once(lambda: check_size(size, self.out, self.memory, self.disk))
        if hosts.is_first() and size.host + size.state + size.bank >= SAID:
            say(f"this run will keep {size}")
        compute = Compute(dtype=self.dtype, precision=self.precision)
        known = outline(config, compute, source, asdict(options) | {"parts": order.parts})
        hosts.once(lambda: check_goes_on(self.out, known, self.accept))
        smell = size_smell(some_sizes(source), config.vision.image_size, len(source))
        if hosts.is_first():
            for line in [*described(source), model_line(config), *([smell] if smell else [])]:
                say(line)
        with stages("run") as at:
            at("loading the model")
            clip = jaxclip.load(
                resolve(self.model), dtype=self.dtype, precision=self.precision, image_size=self.image_size
            )
        with bar(clip.config.name) as progress, cluster.stopping() as stop:
            run = run_pass(
                clip, source, self.out, options, mesh=mesh,
                save_every=self.save_every, n_threads=self.threads, decoding=self.decoding,
                memory=self.memory, disk=self.disk, contents=self.contents, accept=self.accept, progress=progress,
                stop=stop,
            )  # fmt: skip
        unreadable = [{"row": row, "name": run.names[row], "reason": reason} for row, reason in run.errors.items()]
        if hosts.is_first():
            say(f"wrote {self.out}: {counted(run.n_images, 'image')}")
            if unreadable:
                row, reason = next(iter(run.errors.items()))
                lost = counted(len(unreadable), "image")
                say(f"{lost} could not be read, the first is number {row}, {run.names[row]}: {reason}")
        return {"folder": str(self.out), "n_images": run.n_images, "unreadable": unreadable, **summary(source)}
