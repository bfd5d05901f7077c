"""How good a segmentation is: pixel accuracy, IoU and average precision, streamed over batches.

Counts are exact: a batch is counted on the device in int32, and batches add up on the host in int64, so results depend
neither on the batch size nor on how images are dealt to hosts. Masks are `batch row column`, labels count from 0 (the
background, where there is one), and pixels labelled `ignore` count nowhere.
"""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer

from jaxclip.axes import AnyArray
from jaxclip.numerics.arrays import counted
from jaxclip.numerics.own_terms import on_own_terms


@dataclass(frozen=True)
class Segmented:
    """What a pass over masks leaves behind; `a + b` is the pass over both.

    `confusion` counts pixels by their label and what they were taken for, `ap_total` is the sum of the images' average
    precisions.
    """

    confusion: Integer[np.ndarray, "label predicted"]
    ap_total: float
    n_images: int

    def __repr__(self) -> str:
        """The metrics themselves."""
        scores = f"pixel accuracy {self.pixel_accuracy:.2%}, mean IoU {self.mean_iou():.2%}, mean AP {self.mean_ap:.2%}"
        among = counted(len(self.confusion), "class", "classes")
        return f"Segmented({counted(self.n_images, 'image')}, {among}: {scores})"

    def __add__(self, other: "Segmented") -> "Segmented":
        if self.confusion.shape != other.confusion.shape:
            raise ValueError(
                f"both must have the same classes; got {len(self.confusion)} and {len(other.confusion)} of them."
            )
        return Segmented(
            self.confusion + other.confusion, self.ap_total + other.ap_total, self.n_images + other.n_images
        )

    @property
    def pixel_accuracy(self) -> float:
        """Share of labelled pixels that are taken for what they are."""
        return float(np.trace(self.confusion) / max(self.confusion.sum(), 1))

    @property
    def class_iou(self) -> Float[np.ndarray, "label"]:
        """Intersection over union of each class, of all images' pixels together; NaN for a class that is nowhere."""
        both = np.diag(self.confusion)
        union = self.confusion.sum(0) + self.confusion.sum(1) - both
        return np.where(union, both / np.maximum(union, 1), np.nan)

    def mean_iou(self, absent: Literal["zero", "skip"] = "zero") -> float:
        """Mean over classes. The paper's released code counts a class that is nowhere as 0; "skip" leaves it out."""
        iou = self.class_iou
        return float(np.nan_to_num(iou).mean() if absent == "zero" or np.isnan(iou).all() else np.nanmean(iou))

    @property
    def mean_ap(self) -> float:
        """Mean over images of their average precision."""
        return self.ap_total / max(self.n_images, 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; None for the IoU of a class that is nowhere."""
        iou = [None if np.isnan(x) else float(x) for x in self.class_iou]
        numbers = {"pixel_accuracy": self.pixel_accuracy, "mean_iou": self.mean_iou(), "mean_ap": self.mean_ap}
        return numbers | {"class_iou": iou, "n_images": self.n_images, "confusion": asdict(self)["confusion"].tolist()}


@on_own_terms
def score_batch(
    predicted: Integer[AnyArray, "batch row column"],
    scores: Float[AnyArray, "batch class row column"],
    labels: Integer[AnyArray, "batch row column"],
    *,
    ignore: int = -1,
) -> Segmented:
    """Count one batch.

    Args:
      predicted: the class each pixel is taken for.
      scores: how much a pixel is of each class; only their order matters, and only to average precision.
      labels: the class each pixel is of.
      ignore: the label of pixels that do not count, 255 in Pascal VOC.

    Raises:
      ValueError: masks of another size, or labels or predictions outside the classes.

    Source: the paper's released segmentation script, one image a batch; arXiv:2310.05916, section 5.
    """
    n_classes = scores.shape[1] if scores.ndim == 4 else 0
    check_labels(labels, (scores.shape[0], *scores.shape[-2:]), n_classes, ignore)
    check_labels(predicted, labels.shape, n_classes, None, "predictions")
    # A mask of bytes does not hold -1: compare in a signed type.
    labels, predicted = (jnp.asarray(x, jnp.int32) for x in (labels, predicted))
    confusion, precisions = _count(predicted, jnp.asarray(scores), labels, labels != ignore)
    return Segmented(np.asarray(confusion, np.int64), float(np.asarray(precisions, np.float64).sum()), len(precisions))


def check_labels(
    labels: Integer[AnyArray, "batch row column"],
    shape: tuple[int, ...],
    n_classes: int,
    ignore: int | None = -1,
    what: str = "masks",
) -> None:
    """Refuse masks that are not `shape`, or hold anything but 0 to n_classes - 1 and `ignore`."""
    labels = np.asarray(labels)
    if labels.shape != tuple(shape):
        raise ValueError(
            f"{what} must be {list(shape)} [batch, row, column]; got {list(labels.shape)}. Resize them to the images' "
            f"size, nearest neighbour."
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"{what} must hold whole numbers, one a class; got {labels.dtype}.")
    found = np.unique(labels)
    wrong = [int(label) for label in found if not 0 <= label < n_classes and (ignore is None or label != ignore)]
    if wrong:
        hint = "" if ignore is None else f" Pixels that do not count are labelled {ignore} (ignore=... changes that)."
        raise ValueError(f"{what} must hold labels 0 to {n_classes - 1}; got {wrong[:8]}.{hint}")


@jax.jit
def _count(predicted: Array, scores: Array, labels: Array, counted: Array) -> tuple[Array, Array]:
    n_classes = scores.shape[1]
    cells = jnp.where(counted, labels * n_classes + predicted, n_classes**2)
    confusion = jnp.bincount(cells.ravel(), length=n_classes**2 + 1)[:-1].reshape(n_classes, n_classes)
    return confusion, jax.vmap(average_precision)(scores, labels, counted)


@on_own_terms
def average_precision(
    scores: Float[AnyArray, "class row column"],
    labels: Integer[AnyArray, "row column"],
    counted: Bool[AnyArray, "row column"] | None = None,
) -> Float[Array, ""]:
    """Area under one image's precision-recall curve, every class of every pixel being one decision.

    sum over thresholds of (recall - recall before) * precision, where equal scores are one threshold. 0 where no pixel
    counts.

    Args:
      counted: False for pixels that do not count; all of them do by default.
    """
    n_classes, scores, labels = len(scores), jnp.asarray(scores), jnp.asarray(labels)
    right = labels[None] == jnp.arange(n_classes)[:, None, None]
    counted = jnp.ones(labels.shape, bool) if counted is None else counted
    weight = jnp.broadcast_to(counted, right.shape).ravel()
    order = jnp.argsort(-scores.ravel())
    ranked, right, weight = scores.ravel()[order], right.ravel()[order] & weight[order], weight[order]
    found, seen = jnp.cumsum(right), jnp.cumsum(weight)
    # A threshold is the last of equal scores; what it adds is what was found since the threshold before.
    last = jnp.append(ranked[1:] != ranked[:-1], True)
    at_last = jnp.where(last, found, 0)
    before = jnp.append(0, jax.lax.cummax(at_last)[:-1])
    gained = jnp.where(last, (found - before) * (found / jnp.maximum(seen, 1)), 0)
    return _long_sum(gained) / jnp.maximum(found[-1], 1)


def _long_sum(x: Float[Array, "n"]) -> Float[Array, ""]:
    # In two steps: one long float32 sum over 100,000 terms would lose a digit.
    side = int(np.ceil(np.sqrt(len(x))))
    return jnp.pad(x, (0, side * side - len(x))).reshape(side, side).sum(0).sum()


def remarks(total: Segmented) -> list[str]:
    """Why metrics say nothing about a model, if so, in sentences."""
    counts = total.confusion
    if not counts.sum():
        return ["no pixel of any mask counts where the model looked, so there is nothing to measure."]
    found = []
    if not counts[1:].sum():
        found.append(
            "no mask has a pixel of the foreground where the model looked, so these numbers say nothing; see which "
            "label is the background and which does not count."
        )
    if not counts[:, 1:].sum():
        found.append("nothing was found in any picture: all of it was taken for background.")
    return found
