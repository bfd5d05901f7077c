"""Fills the benchmark tables of README.md and docs/benchmarks.md from the JSON files of one `make bench`.

    python experiments/bench_tables.py

What a table says is between `<!-- bench NAME -->` and `<!-- end -->`; nothing there is written by hand.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGES = (ROOT / "README.md", ROOT / "docs" / "benchmarks.md")
RESULTS = Path(__file__).parent / "results"
NAMES = ("core", "peers", "textspan", "pass", "growth")
MARKED = re.compile(r"(<!-- bench (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
MISSING = "not measured"
PLOT = "![Seconds against each size, both axes logarithmic, with fitted lines](images/growth.svg)"

Row = tuple[str, str, Callable[[Any], str]]
"""What a row is about, where its number lies in the results, and how it is written."""


def read(folder: Path = RESULTS) -> dict[str, Any]:
    """The results of every script that has run, by its name."""
    files = {name: folder / f"bench_{name}.json" for name in NAMES}
    found = {name: json.loads(file.read_text()) for name, file in files.items() if file.is_file()}
    cards = [json.loads(file.read_text()) for file in sorted(folder.glob("gpu_*.json"))]
    return found | {"gpu": [card for card in cards if card["device"]]}


def filled(page: str, results: dict[str, Any]) -> str:
    """The page with every table made anew."""
    return MARKED.sub(lambda found: f"{found[1]}{BLOCKS[found[2]](results)}\n{found[3]}", page)


def table(rows: list[Row], heading: str) -> Callable[[dict[str, Any]], str]:
    def block(results: dict[str, Any]) -> str:
        body = [f"| {label} | {value(results, path, written)} |" for label, path, written in rows]
        return "\n".join([f"| | {heading} |", "|---|---|", *body])

    return block


def value(results: Any, path: str, written: Callable[[Any], str]) -> str:
    for name in path.split("/"):
        if not isinstance(results, dict) or name not in results:
            return MISSING
        results = results[name]
    return written(results)


def ratio(found: dict[str, float]) -> str:
    """Median and quartiles."""
    return f"{number(found['median'])} ({number(found['low'])} to {number(found['high'])})"


def number(x: float) -> str:
    return f"{x:.0f}" if x >= 100 else f"{x:.1f}" if x >= 10 else f"{x:.2f}"


def span(found: dict[str, float]) -> str:
    return f"{ratio(found)} s"


def gigabytes(found: float) -> str:
    return f"{found / 1e9:.2f} GB"


def compiling(found: list[float]) -> str:
    return f"{found[1] / found[0]:.2f} ({found[0]:.1f} s and {found[1]:.1f} s)"


def share(found: float) -> str:
    return f"{100 * found:.1f} %"


def worst(found: dict[str, dict[str, float]]) -> str:
    return f"{max(max(own.values()) for own in found.values()):.1e}"


def setting(results: dict[str, Any]) -> str:
    """Where and how, in a sentence."""
    if "core" not in results:
        return "Not measured yet; `make bench` measures and fills this in."
    core = results["core"]
    options = core["options"]
    model = f"{options['model']}, batch {options['batch']}, {options['dtype']}, random weights"
    return f"On {core['cores']} {core['device']} cores, {model}, {core['date']}: medians, and quartiles in brackets."


def growth(results: dict[str, Any]) -> str:
    """One row a case: the sizes, and the exponent of the power law through them; and the plot, where there is one."""
    found = results.get("growth", {})
    cases = {name: case for name, case in found.items() if isinstance(case, dict) and "exponent" in case}
    if not cases:
        return "Not measured yet."
    rows = ["| cost against | sizes | seconds | exponent |", "|---|---|---|---|"]
    for name, case in cases.items():
        sizes, seconds = case["sizes"], [number(x) for x in case["seconds"]]
        exponent = f"{case['exponent']:.2f}"
        rows.append(f"| {name} | {sizes[0]:,} to {sizes[-1]:,} | {seconds[0]} to {seconds[-1]} | {exponent} |")
    return "\n".join([*rows, "", PLOT])


def gpu(whole: bool) -> Callable[[dict[str, Any]], str]:
    """What `bench_gpu.py` found, a table a card; not `whole`, only what was measured."""

    def block(results: dict[str, Any]) -> str:
        return "\n\n".join(_card(card, whole) for card in results["gpu"]) or "GPUs: not measured."

    return block


def _card(card: dict[str, Any], whole: bool) -> str:
    models = {name: found for name, found in card.items() if isinstance(found, dict) and "speed" in found}
    rows = [(f"{name}, {what}", value(found, path, written))
            for name, found in models.items() for what, path, written in GPU]  # fmt: skip
    body = [f"| {what} | {written} |" for what, written in rows if whole or written != MISSING]
    heading = f"{card['device']}, JAX {card['versions']['jax']}, {card['date']}"
    return "\n".join([f"| {heading} | |", "|---|---|", *body])


def speed(found: Any) -> str:
    """A row of speeds; a string says why there is none."""
    if isinstance(found, str):
        return MISSING
    of_plain = f", {found['share_of_plain']:.2f} of plain" if "share_of_plain" in found else ""
    of_peak = f", {100 * found['share_of_peak']:.0f} % of the card's peak" if "share_of_peak" in found else ""
    return f"{found['images_per_s']:,.0f} images/s{of_plain}{of_peak}"


def largest(found: Any) -> str:
    """The largest error of the sum over details, and how far the embedding is from float32's."""
    if isinstance(found, str):
        return MISSING
    sums = max(error for detail, error in found.items() if detail != "embedding")
    return f"{sums:.0e}" + (f"; embedding {found['embedding']:.0e} from float32's" if found["embedding"] else "")


SPEED: list[Row] = [
    *((f'`detail="{name}"` / plain forward pass', f"core/speed/{name}/times plain", ratio)
      for name in ("layer", "head", "token", "full")),
    ("a pass collecting moments / plain forward pass", "pass/moments/moments/times plain", ratio),
    ("plain forward pass / open_clip's in PyTorch", "peers/open_clip/plain/times open_clip", ratio),
    ('the released code, two images at a time / `detail="full"`', "peers/reference/reference/times full", ratio),
    ('the same / `detail="full"` of two images', "peers/reference/reference/times same batch", ratio),
]  # fmt: skip
TEXTSPAN: list[Row] = [
    ("the published loop in NumPy / one head from moments", "textspan/one_head/loop/times head coordinates", ratio),
    ("the released code / one head from moments", "textspan/one_head/released code/times head coordinates", ratio),
]
COST: list[Row] = [
    ("all heads, 60 steps", "textspan/all_heads/seconds", span),
    ("a pass from files with a bank / its computing alone", "pass/parts/whole/times compute", ratio),
    ("reading and preprocessing / computing", "pass/parts/read and preprocess/times compute", ratio),
    ("peak memory of a pass, 5,000 images / 500 images", "pass/memory/ratio", number),
    ("maps of 1,000 texts, ViT-L-14, batch 8: program with its weights", "core/maps/program_bytes", gigabytes),
    ("converting ViT-L-14: peak memory / size of the file", "core/conversion/peak ÷ file", number),
    ("compiling 24 layers / 4 layers", "core/program/head/compile_s", compiling),
]
DETAILS: list[Row] = [
    ("plain forward pass", "core/speed/plain/seconds", span),
    ("open_clip's forward pass", "peers/open_clip/open_clip/seconds", span),
    ("the released code, an image", "peers/reference/reference/seconds", span),
    ('`detail="full"`, an image', "peers/reference/full/seconds", span),
    ("its largest difference, of the largest contribution", "peers/reference/difference", "{:.1e}".format),
    ("TextSpan of one head from moments in head coordinates", "textspan/one_head/head coordinates/seconds", span),
    ("from moments in the joint space", "textspan/one_head/joint space/seconds", span),
    ("collecting those moments from 10,000 samples", "textspan/one_head/moments/seconds", span),
    ("the published loop, in float32", "textspan/one_head/loop/seconds", span),
    ("picks equal to the loop's in float64, of 20", "textspan/one_head/picks as in float64/head coordinates", str),
    ("the loop's own in float32, of 20", "textspan/one_head/picks as in float64/loop", str),
    ("the released code's, of 20", "textspan/one_head/picks as in float64/released code", str),
    ("a whole pass with a bank, 48 photographs", "pass/parts/whole/seconds", span),
    ("of it: computing", "pass/parts/compute/seconds", span),
    ("reading and preprocessing", "pass/parts/read and preprocess/seconds", span),
    ("writing the bank", "pass/parts/write/seconds", span),
    ("hashing the model, once a pass", "pass/parts/hash the model/seconds", span),
    ("the whole / the sum of these", "pass/parts/whole ÷ sum of parts", number),
    ("photographs read and preprocessed a second", "pass/parts/photographs read a second", number),
    ("maps of 1,000 texts: peak of the process, interpreter and libraries included", "core/maps/peak_bytes", gigabytes),
    ("converting ViT-L-14 / copying the file", "core/conversion/times copying the file", number),
    ("`jaxclip --help`", "core/start/jaxclip --help/seconds", span),
    ("largest error of the sum, of the embedding's norm", "core/sums", worst),
    ("program text, 24 layers beside 4: growth", "core/program/head/growth", share),
]
GPU: list[Row] = [
    ("plain forward pass, bfloat16", "speed/plain", speed),
    *((f'`detail="{name}"`', f"speed/{name}", speed) for name in ("layer", "head", "token", "full")),
    ("a pass collecting moments", "speed/moments", speed),
    ("plain, without cuDNN's attention", "speed/explicit", speed),
    ("open_clip in PyTorch", "open_clip/eager", speed),
    ("open_clip in PyTorch, compiled", "open_clip/compiled", speed),
    *((f"error of the sum, {name}", f"sums/{name}", largest) for name in ("float32", "tf32", "bfloat16")),
]
BLOCKS: dict[str, Callable[[dict[str, Any]], str]] = {
    "setting": setting,
    "speed": table(SPEED, "ratio"),
    "textspan": table(TEXTSPAN, "ratio"),
    "cost": table(COST, "cost"),
    "details": table(DETAILS, "measured"),
    "growth": growth,
    "gpu": gpu(whole=True),
    "gpu_measured": gpu(whole=False),
}


def main() -> None:
    results = read()
    for page in PAGES:
        page.write_text(filled(page.read_text(), results))


if __name__ == "__main__":
    main()
