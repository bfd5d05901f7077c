"""What smells: results that a mistake in the data makes more often than a model does, each in a sentence."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from jaxclip.axes import AnyArray
from jaxclip.numerics.own_terms import on_own_terms
from jaxclip.runs.run import Run
from jaxclip.runs.task import Classes

SURE = 3.0
"""Standard deviations that an accuracy has to lie below chance."""
REORDERED = 0.3
"""Of the accuracy that another order of the classes would have, over this one."""
ENOUGH = 8
"""Images, below which nothing is said of predictions."""


@on_own_terms
def class_smells(
    run: Run, rows: Int[np.ndarray, "labelled"], classes: Float[AnyArray, "text embed"], task: Classes
) -> list[str]:
    """What smells about a run's zero-shot classification.

    Args:
      run: with a bank.
      rows: of its labelled images.
      classes: class embeddings.
      task: names of the classes and the images' labels.
    """
    predicted = np.asarray(run.bank.read("embedding", rows) @ np.asarray(classes).T).argmax(-1)
    found = prediction_smells(task.kind, task.names, predicted, task.labels[rows])
    if not task.told and all(name.isascii() and name.isdigit() for name in task.names):
        found.append(
            f"the classes of {task.kind} are called {', '.join(task.names[:3])}, ..: if they are no pictures of "
            f"numbers, pass their names as --classes."
        )
    return found


def prediction_smells(
    kind: str, names: Sequence[str], predicted: Int[np.ndarray, "image"], labels: Int[np.ndarray, "image"]
) -> list[str]:
    """Accuracy below chance, accuracy that another order of the classes would have, one class predicted for all.

    Args:
      kind: of label.
      names: of the classes.
      predicted: the class of every image.
      labels: its own class, 0 or more.
    """
    n, n_classes = len(labels), len(names)
    if n < ENOUGH or n_classes < 2:
        return []
    accuracy, chance = float(np.mean(predicted == labels)), 1 / n_classes
    if np.all(predicted == predicted[0]) and np.any(labels != labels[0]):
        return [
            f"every image is predicted to be {names[predicted[0]]!r}: look whether the classes' words and the images "
            f"are those that are meant ({kind}, accuracy {accuracy:.1%})."
        ]
    best = _best_order(predicted, labels)
    if len(np.unique(labels)) > 1 and best >= max(accuracy + REORDERED, 2 * accuracy):
        return [
            f"accuracy on {kind} is {accuracy:.1%}, but with the classes in another order it would be {best:.1%}: look "
            f"whether each class is that of its label."
        ]
    if accuracy < chance - SURE * (chance * (1 - chance) / n) ** 0.5:
        return [
            f"accuracy on {kind} is {accuracy:.1%}, below chance, {chance:.1%}: look whether each class is that of its "
            f"label."
        ]
    return []


def _best_order(predicted: Int[np.ndarray, "image"], labels: Int[np.ndarray, "image"]) -> float:
    """Share of images that are right where every label is given a class of its own, the commonest pair first.

    Of pairs that occur once nothing is counted: among many classes chance makes such pairs by itself.
    """
    pairs, counts = np.unique(np.stack([labels, predicted]), axis=1, return_counts=True)
    right, used = 0, (set(), set())
    for place in np.argsort(-counts, kind="stable"):
        label, guess = pairs[:, place].tolist()
        if counts[place] > 1 and label not in used[0] and guess not in used[1]:
            right += int(counts[place])
            used[0].add(label)
            used[1].add(guess)
    return right / len(labels)


def size_smell(sizes: Sequence[tuple[int, int]], wanted: tuple[int, int], n: int) -> str:
    """Pictures that are all smaller than what the model takes; empty where one is not.

    Args:
      sizes: height and width of some pictures.
      wanted: height and width of the model's input.
      n: pictures there are.
    """
    if not sizes or any(height >= wanted[0] or width >= wanted[1] for height, width in sizes):
        return ""
    height, width = max(sizes, key=lambda size: size[0] * size[1])
    looked = f"all {n} images are" if len(sizes) == n else f"all images that were looked at, {len(sizes)} of {n:,}, are"
    looked = "the one image is" if n == 1 else looked
    return (
        f"{looked} smaller than the model's input of {wanted[1]} x {wanted[0]} pixels (the largest has {width} x "
        f"{height}): they are enlarged, and finer detail is not there."
    )
