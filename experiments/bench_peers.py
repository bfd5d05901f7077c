"""Beside others on the same machine: open_clip's forward pass in PyTorch and, where a clone of it is at hand, the
decomposition by the paper's released code. Each in turn, on as many threads.

    python experiments/bench_peers.py
    git clone https://github.com/yossigandelsman/clip_text_span ../reference
    python experiments/bench_peers.py --reference ../reference
"""

import argparse
import sys
from importlib import import_module, util
from pathlib import Path
from typing import Any

import jax
import numpy as np
from benching import Runs, by_turns, machine, measure, parser, pictures, tower

TESTS = Path(__file__).resolve().parents[1] / "tests" / "helpers"


def main() -> None:
    arguments = parser(__doc__, repeats=7)
    arguments.add_argument("--reference", type=Path, help="a clone of github.com/yossigandelsman/clip_text_span")
    arguments.add_argument("--reference-batch", type=int, default=2, help="2 is its script's own")
    arguments.add_argument("--reference-repeats", type=int, default=3)
    options = arguments.parse_args()
    parts = {"open_clip": open_clip_speed}
    if options.reference:
        parts["reference"] = reference_speed
    measure("bench_peers", options, parts)


def open_clip_speed(options: argparse.Namespace) -> dict[str, Any] | str:
    if util.find_spec("torch") is None or util.find_spec("open_clip") is None:
        return "not measured: open_clip or torch is not installed"
    torch = with_torch()
    model = import_module("open_clip").create_model(options.model, pretrained=None).visual.eval()
    vision = tower(options.model)
    images = pictures(vision, options.batch)
    tensor = to_torch(images)

    def theirs() -> None:
        with torch.inference_mode():
            model(tensor)

    runs: Runs = {"open_clip": theirs, "plain": lambda: vision.embed(images)}
    runs |= {"head": lambda: vision(images, detail="head"), "full": lambda: vision(images, detail="full")}
    return by_turns(runs, options.repeats, "open_clip") | {"torch": torch.__version__}


def reference_speed(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds an image. Both form every contribution of every head and token, theirs as its script calls it, without
    autograd and at the script's own batch; ours at that one and at the larger.

    Weights are the same, so that what comes out can be compared.
    """
    torch = with_torch()
    sys.path.insert(0, str(options.reference.resolve()))
    theirs, module = released(options.model)
    logger, vision = module.hook_prs_logger(theirs, "cpu"), ported(theirs, options.model)
    few, many = pictures(vision, options.reference_batch), pictures(vision, options.batch)
    tensor = to_torch(few)

    def reference() -> Any:
        with torch.no_grad():
            logger.reinit()
            representation = theirs.encode_image(tensor, attn_method="head", normalize=False)
            return logger.finalize(representation)[0].numpy()

    ours, expected = vision(few)[1].normalized().attn, reference().transpose(0, 1, 3, 2, 4)
    difference = float(np.abs(np.asarray(ours) - expected).max() / np.abs(expected).max())
    del ours, expected
    runs: Runs = {
        "reference": lambda: reference() is None,
        "same batch": lambda: vision(few),
        "full": lambda: vision(many),
    }
    images = {"reference": len(few), "same batch": len(few), "full": len(many)}
    found = by_turns(runs, options.reference_repeats, "full", "same batch", images=images)
    return found | {"images": images, "difference": difference}


def with_torch() -> Any:
    """PyTorch on as many threads as JAX has, with what stands in for torchvision where there is none."""
    sys.path.insert(0, str(TESTS))
    torch = import_module("torch")
    import_module("torchvision_stub").install()
    torch.set_num_threads(machine()["cores"])
    return torch


def to_torch(images: jax.Array) -> Any:
    torch = import_module("torch")
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).contiguous()


def released(model: str) -> tuple[Any, Any]:
    """The released code's model with random weights, and its module of hooks."""
    torch, hooks, factory = map(import_module, ("torch", "prs_hook", "utils.factory"))
    theirs = factory.create_model(model, pretrained=None).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weights in theirs.named_parameters():  # some of which it leaves unset
            weights.normal_(1.0 if name.endswith("weight") and weights.ndim == 1 else 0.0, 0.02)
    return theirs, hooks


def ported(theirs: Any, model: str) -> Any:
    """Our tower with their weights, by way of the converter."""
    import json

    from benching import temporary
    from safetensors.torch import save_file

    import jaxclip

    state = {name: tensor.contiguous() for name, tensor in theirs.state_dict().items() if name != "attn_mask"}
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "shortest"}
    described = {"model_cfg": import_module("open_clip").get_model_config(model), "preprocess_cfg": preprocess}
    with temporary() as folder:
        (Path(folder) / "open_clip_config.json").write_text(json.dumps(described))
        save_file(state, str(Path(folder) / "open_clip_model.safetensors"))
        return jaxclip.load(folder).vision


if __name__ == "__main__":
    main()
