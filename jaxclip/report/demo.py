"""The demo: the shipped CLIP converted, verified, and explained on scenes it has never seen."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

import jaxclip
from jaxclip import verify
from jaxclip.analyses.direct_effects import direct_effects
from jaxclip.clip import Clip
from jaxclip.convert import convert  # pyright: ignore[reportMissingImports]
from jaxclip.data import scenes
from jaxclip.files.whole import write_results
from jaxclip.numerics.arrays import counted
from jaxclip.preprocess import crop_box
from jaxclip.report.figures import effects_figure, map_figure, save
from jaxclip.report.stages import stages
from jaxclip.report.tables import print_checks, print_numbers
from jaxclip.zeroshot import accuracy, class_embeddings, contrast, text_embeddings

SEED = 0
BATCH = 100
UNIT = "direct effect on the right class (cosine similarity, minus the classes' mean)"


def demo(out: Path, n_scenes: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Run it all; figures and results.json go to `out`.

    Raises:
      ValueError: fewer than one scene, or a sum out of tolerance, which would be a bug.
    """
    if n_scenes < 1:
        raise ValueError(f"n_scenes must be at least 1; got {n_scenes}.")
    started = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    say("1. convert the shipped OpenCLIP checkpoint")
    with stages("demo") as at:
        at("converting")
        clip = jaxclip.load(convert(scenes.CHECKPOINT, out / "model", overwrite=True))
        say("2. verify that the contributions sum to the embedding")
        at("the sum, in every detail and convention")
        checks = list(verify.verify(clip, verify.probe_images(clip)))
    print_checks(checks, clip.config.name)
    say(f"3. classify {counted(n_scenes, 'held-out scene')} zero-shot, and see which heads do it")
    with stages("demo") as at:
        drawn = []
        for i in range(n_scenes):
            at("drawing scenes", i, n_scenes)
            drawn.append(scenes.scene(SEED, "test", i))
        at("classifying")
        images = clip.preprocess([scene["image"] for scene in drawn])
        labels = {factor: np.array([scene["labels"][factor] for scene in drawn]) for factor in scenes.PROMPTS}
        factors = factor_results(clip, images, labels)
    _print(factors)
    say("4. where one scene answers to a few captions")
    scene = next(scene for scene in drawn if scene["spec"]["kind"] == "pair") if n_scenes > 20 else drawn[0]
    with stages("demo") as at:
        at("maps and figures")
        seen = picture(clip, scene, out)
        for factor, found in factors.items():
            title = f"{factor}: {found['accuracy']:.0%} zero-shot"
            figure = effects_figure(np.array(found["heads"]), np.array(found["mlp_by_layer"]), title, UNIT)
            save(figure, out / f"heads_{factor}.png")
    checked = [check.to_dict() for check in checks]
    result: dict[str, Any] = {"model": clip.config.name, "checks": checked, "factors": factors, "picture": seen}
    result["seconds"] = round(time.monotonic() - started, 1)
    write_results(out / "results.json", result)
    say(f"wrote {out / 'results.json'} and {counted(1 + len(result['factors']), 'figure')} in {result['seconds']} s")
    if broken := [check.what for check in checks if not check.holds]:
        raise ValueError(f"out of tolerance: {'; '.join(broken)}. Please report this with {out / 'results.json'}.")
    return result


def factor_results(
    clip: Clip,
    images: Float[np.ndarray, "batch height width channel"],
    labels: dict[str, Int[np.ndarray, "batch"]],
) -> dict[str, Any]:
    """Zero-shot accuracy on each factor, and each layer's and head's mean direct effect on the right class."""

    @jax.jit
    def decompose(vision, some):
        embedding, contributions = vision(some, detail="head")
        return embedding, contributions.normalized()

    parts = [decompose(clip.vision, images[i : i + BATCH]) for i in range(0, len(images), BATCH)]
    embeddings, contributions = jax.tree.map(lambda *xs: jnp.concatenate(xs), *parts)
    results = {}
    for factor, truth in labels.items():
        applies = np.flatnonzero(truth >= 0)
        if not len(applies):
            continue
        classes = class_embeddings(clip, scenes.prompts(factor))
        some = jax.tree.map(lambda x, applies=applies: x[applies], contributions)
        scores = some.project(contrast(classes))
        attn, mlp = (_pick(np.asarray(x), truth[applies]).mean(0) for x in (scores.attn, scores.mlp))
        order = np.argsort(-np.abs(attn), axis=None)[:3]
        strongest = [tuple(map(int, np.unravel_index(at, attn.shape))) for at in order]
        results[factor] = {
            "accuracy": accuracy(embeddings[applies], classes, truth[applies]),
            "chance": 1 / len(classes),
            "n_images": len(applies),
            "attention_by_layer": attn.sum(1).tolist(),
            "mlp_by_layer": mlp.tolist(),
            "heads": attn.tolist(),
            "strongest_heads": [
                {"layer": layer, "head": head, "effect": float(attn[layer, head])} for layer, head in strongest
            ],
        }
    return results


def picture(clip: Clip, scene: dict[str, Any], out: Path) -> dict[str, Any]:
    """The map of one scene for a caption of each of its things and for its background."""
    spec = scene["spec"]
    texts = [f"a {thing['colour']} {thing['category']}" for thing in spec["groups"]]
    texts.append(scenes.prompts("background")[scene["labels"]["background"]][1])
    embeddings = text_embeddings(clip, texts)
    effects = direct_effects(clip, clip.preprocess([scene["image"]])[0], contrast(embeddings))
    height, width = scene["image"].shape[:2]
    box = crop_box((width, height), clip.config.preprocess)
    unit = "direct effect (cosine similarity, minus the texts' mean)"
    save(map_figure(scene["image"], effects.map(), texts, box, unit), out / "map.png")
    return {"captions": scene["captions"], "texts": effects.to_dict(texts, embeddings)}


def _pick(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """scores[i, ..., labels[i]] for every image i."""
    index = labels.reshape(-1, *(1,) * (scores.ndim - 1))
    return np.take_along_axis(scores, index, axis=-1)[..., 0]


def _print(factors: dict[str, Any]) -> None:
    rows = {}
    for factor, found in factors.items():
        layers = np.array(found["attention_by_layer"])
        best = ", ".join(f"{at['layer']}.{at['head']} {at['effect']:+.3f}" for at in found["strongest_heads"])
        rows[factor] = (
            f"{found['accuracy']:.1%}",
            f"{found['chance']:.1%}",
            " ".join(f"{x:+.3f}" for x in layers),
            f"{sum(found['mlp_by_layer']):+.3f}",
            best,
        )
    columns = ("factor", "zero-shot", "chance", "attention, by layer", "all MLPs", "strongest heads (layer.head)")
    unit = "cosine similarity minus the mean of a factor's classes"
    print_numbers(f"Held-out scenes, and mean direct effects on the right class ({unit})", rows, columns)
