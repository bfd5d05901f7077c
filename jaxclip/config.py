"""What a checkpoint is: frozen descriptions of both towers and of the preprocessing they were trained with.

Where checkpoints differ there is no default: a wrong activation or resize mode is silent, so it has to be said.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

Activation = Literal["gelu", "quick_gelu", "gelu_tanh"]
"""`gelu` is the erf form (OpenCLIP's default), `quick_gelu` is x * sigmoid(1.702 x) (OpenAI, DFN, some MetaCLIP)."""

Interpolation = Literal["bicubic", "bilinear", "nearest"]
ResizeMode = Literal["shortest", "squash", "longest"]
VisionPool = Literal["class", "mean"]
TextPool = Literal["argmax", "eos", "last", "first"]
TextProjection = Literal["linear", "linear_bias", "none"]
DType = Literal["float32", "bfloat16", "float16"]
Precision = Literal["highest", "high", "default", "tensorfloat32"]
Attention = Literal["auto", "plain"]
Library = Literal["open_clip", "transformers"]
"""Whose habits a checkpoint was made for, where two libraries do the same step in different ways."""


def _check_choice(owner: str, field: str, value: str, choices: Any) -> None:
    if value not in get_args(choices):
        raise ValueError(f"{owner}.{field} must be one of {', '.join(get_args(choices))}; got {value!r}.")


def _check_positive(owner: str, **sizes: int) -> None:
    for field, value in sizes.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{owner}.{field} must be a positive integer; got {value!r}.")


def _height_width(name: str, size: Any) -> tuple[int, int]:
    if len(size) != 2:
        raise ValueError(f"{name} must be a height and a width; got {size}.")
    return int(size[0]), int(size[1])


def _check_heads(owner: str, width: int, n_heads: int) -> None:
    if width % n_heads:
        raise ValueError(f"{owner}.width must be a multiple of n_heads; got width {width} with {n_heads} heads.")


N_PREFIX = 1
"""Tokens before the patches of every tower that there is: the class token."""


@dataclass(frozen=True, kw_only=True)
class VisionConfig:
    """The image tower.

    `n_heads` is OpenCLIP's `width // head_width`, `mlp_dim` its `int(width * mlp_ratio)`. `pool` says what the final
    LayerNorm reads: the class token, or the mean over patch tokens (CLIPA). `layer_scale` and `ln_pre` say whether
    those weights exist. Sizes are (height, width) in pixels.
    """

    image_size: tuple[int, int]
    patch_size: tuple[int, int]
    width: int
    n_layers: int
    n_heads: int
    mlp_dim: int
    embed_dim: int
    activation: Activation
    pool: VisionPool = "class"
    ln_pre: bool = True
    layer_scale: bool = False
    eps: float = 1e-5

    def __post_init__(self) -> None:
        for field in ("image_size", "patch_size"):
            size = _height_width(f"VisionConfig.{field}", getattr(self, field))
            object.__setattr__(self, field, size)
            _check_positive("VisionConfig", **{field: min(size)})
        _check_positive(
            "VisionConfig", width=self.width, n_layers=self.n_layers, n_heads=self.n_heads, mlp_dim=self.mlp_dim,
            embed_dim=self.embed_dim,
        )  # fmt: skip
        _check_heads("VisionConfig", self.width, self.n_heads)
        _check_choice("VisionConfig", "activation", self.activation, Activation)
        _check_choice("VisionConfig", "pool", self.pool, VisionPool)
        if min(self.grid) < 1:
            raise ValueError(f"image_size {self.image_size} is smaller than one patch {self.patch_size}.")

    @property
    def head_dim(self) -> int:
        return self.width // self.n_heads

    @property
    def grid(self) -> tuple[int, int]:
        """Patches down and across; what does not fill a patch is cut off at the bottom and right, as a strided
        convolution does."""
        return self.image_size[0] // self.patch_size[0], self.image_size[1] // self.patch_size[1]

    @property
    def n_prefix(self) -> int:
        """Tokens before the patches: the class token."""
        return N_PREFIX

    @property
    def n_tokens(self) -> int:
        return self.n_prefix + self.grid[0] * self.grid[1]


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """The text tower. `pool` says which token is the text: the one with the highest id (`argmax`), the first `eos_id`,
    the last position or the first. `causal` is False for CLIPA. Sequences shorter than `context` are padded with
    `pad_id`; `pad_mask` hides padding from attention."""

    context: int
    vocab_size: int
    width: int
    n_layers: int
    n_heads: int
    mlp_dim: int
    embed_dim: int
    activation: Activation
    causal: bool = True
    pool: TextPool = "argmax"
    pad_id: int = 0
    eos_id: int | None = None
    pad_mask: bool = False
    layer_scale: bool = False
    projection: TextProjection = "linear"
    eps: float = 1e-5

    def __post_init__(self) -> None:
        _check_positive(
            "TextConfig", context=self.context, vocab_size=self.vocab_size, width=self.width, n_layers=self.n_layers,
            n_heads=self.n_heads, mlp_dim=self.mlp_dim, embed_dim=self.embed_dim,
        )  # fmt: skip
        _check_heads("TextConfig", self.width, self.n_heads)
        _check_choice("TextConfig", "activation", self.activation, Activation)
        _check_choice("TextConfig", "pool", self.pool, TextPool)
        _check_choice("TextConfig", "projection", self.projection, TextProjection)
        if self.pool == "eos" and self.eos_id is None:
            raise ValueError("TextConfig.pool 'eos' needs eos_id, the id of the tokenizer's end-of-text token.")
        if self.projection == "none" and self.width != self.embed_dim:
            raise ValueError(f"without a projection, text width {self.width} must equal embed_dim {self.embed_dim}.")

    @property
    def head_dim(self) -> int:
        return self.width // self.n_heads


@dataclass(frozen=True, kw_only=True)
class PreprocessConfig:
    """From a decoded image to the tower's input: resize, crop, convert to RGB, scale to [0, 1], normalise.

    `size` is (height, width). `shortest` resizes the shortest side and crops the centre, `squash` resizes both sides,
    `longest` resizes the longest side and pads with `fill`, a grey level or a colour of three.

    `library` says whose way. OpenCLIP resizes in the image's own mode and converts to RGB last, which drops alpha; the
    offset of its crop is rounded, a half to the even number. transformers lays what is transparent on white and
    converts first, and the offset is rounded down. Position embeddings for another image size and the cleaning of texts
    follow the same library.
    """

    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Interpolation
    resize_mode: ResizeMode
    fill: int | tuple[int, int, int] = 0
    library: Library = "open_clip"

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", _height_width("PreprocessConfig.size", self.size))
        for field in ("mean", "std"):
            values = tuple(float(x) for x in getattr(self, field))
            if len(values) != 3:
                raise ValueError(f"PreprocessConfig.{field} needs one number per channel; got {values}.")
            object.__setattr__(self, field, values)
        levels = (self.fill,) if isinstance(self.fill, int) else tuple(self.fill)
        if len(levels) not in (1, 3) or not all(type(level) is int and 0 <= level <= 255 for level in levels):
            raise ValueError(f"PreprocessConfig.fill must be one or three integers of 0 to 255; got {self.fill!r}.")
        object.__setattr__(self, "fill", levels if len(levels) == 3 else levels[0])
        if min(self.std) <= 0:
            raise ValueError(f"PreprocessConfig.std must be positive; got {self.std}.")
        _check_positive("PreprocessConfig", size=min(self.size))
        _check_choice("PreprocessConfig", "interpolation", self.interpolation, Interpolation)
        _check_choice("PreprocessConfig", "resize_mode", self.resize_mode, ResizeMode)
        _check_choice("PreprocessConfig", "library", self.library, Library)


@dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """A whole checkpoint. `text` is None where the text tower is not one of ours (Hugging Face text models);
    `text_missing` then says why."""

    name: str
    vision: VisionConfig
    text: TextConfig | None
    preprocess: PreprocessConfig
    text_missing: str | None = None

    def __post_init__(self) -> None:
        if self.text and self.text.embed_dim != self.vision.embed_dim:
            raise ValueError(
                f"both towers must end in one space; got vision embed_dim {self.vision.embed_dim} and text embed_dim "
                f"{self.text.embed_dim}."
            )
        if self.preprocess.size != self.vision.image_size:
            raise ValueError(
                f"images must be prepared as the tower takes them; got preprocess size {self.preprocess.size} and "
                f"vision image_size {self.vision.image_size}."
            )

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain JSON types; `from_dict` is its inverse.

        `library` came later than models and runs that exist: its first value is left out, as they have it.
        """
        fields = asdict(self)
        if self.preprocess.library == "open_clip":
            del fields["preprocess"]["library"]
        return fields

    def for_images(self, size: int | tuple[int, int] | None) -> "ClipConfig":
        """Change the size of images in pixels, one number or (height, width); None changes nothing."""
        if size is None:
            return self
        size = (size, size) if isinstance(size, int) else size
        vision = replace(self.vision, image_size=size)
        return replace(self, vision=vision, preprocess=replace(self.preprocess, size=size))

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "ClipConfig":
        def tuples(part: dict[str, Any]) -> dict[str, Any]:  # JSON has lists only
            return {name: tuple(value) if isinstance(value, list) else value for name, value in part.items()}

        text = fields["text"]
        return cls(
            name=fields["name"],
            vision=VisionConfig(**tuples(fields["vision"])),
            text=None if text is None else TextConfig(**text),
            preprocess=PreprocessConfig(**tuples(fields["preprocess"])),
            text_missing=fields.get("text_missing"),
        )


@dataclass(frozen=True, kw_only=True)
class Compute:
    """How the towers calculate. For every choice, LayerNorm statistics, softmax, the pooled residual stream and every
    contribution are float32, so the sum stays exact: what a choice changes is the embedding itself.

    `dtype` is what activations and weights are multiplied in. `precision` is how float32 products are formed on
    hardware that can cut them short: `highest` is true float32, `tensorfloat32` and `default` are what GPUs and TPUs
    do by themselves. CPUs always calculate true float32. `attention` "auto" leaves rows whose pattern is
    not needed to cuDNN, on NVIDIA GPUs in bfloat16 and float16 (see `jaxclip.model.attention`), and is "plain"
    everywhere else.
    """

    dtype: DType = "float32"
    precision: Precision = "highest"
    attention: Attention = "auto"

    def __post_init__(self):
        _check_choice("Compute", "dtype", self.dtype, DType)
        _check_choice("Compute", "precision", self.precision, Precision)
        _check_choice("Compute", "attention", self.attention, Attention)
