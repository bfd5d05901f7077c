"""Small random checkpoints on disk in every layout that the converter reads, with the PyTorch model that wrote them.

Every weight is noise, LayerNorms and biases included, so that nothing is right by being zero or one.
"""

import json
import sys
import warnings
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

CFG = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "layers": 3, "width": 48, "head_width": 12},
    "text_cfg": {"context_length": 12, "vocab_size": 60, "width": 32, "heads": 4, "layers": 2},
}
PREPROCESS = {
    "size": [32, 32],
    "mode": "RGB",
    "mean": [0.5, 0.4, 0.3],
    "std": [0.2, 0.3, 0.4],
    "interpolation": "bilinear",
    "resize_mode": "squash",
    "fill_color": 0,
}


def config(**changes):
    """CFG with changed options; `vision_` and `text_` prefixes go into the towers."""
    cfg = deepcopy(CFG)
    for key, value in changes.items():
        tower, _, option = key.partition("_")
        if tower in ("vision", "text"):
            cfg[f"{tower}_cfg"][option] = value
        else:
            cfg[key] = value
    return cfg


OPTIONS = {
    "plain": config(),
    "quick_gelu": config(quick_gelu=True),
    "tanh": config(vision_act_kwargs={"approximate": "tanh"}, text_act_kwargs={"approximate": "tanh"}),
    "eps": config(vision_norm_kwargs={"eps": 1e-6}, text_norm_kwargs={"eps": 1e-3}),
    "layer_scale": config(vision_ls_init_value=0.1, text_ls_init_value=0.1),
    "clipa": config(
        custom_text=True, vision_no_ln_pre=True, vision_pool_type="avg", vision_final_ln_after_pool=True,
        text_no_causal_mask=True, text_pool_type="last",
    ),
    "no_ln_pre": config(vision_no_ln_pre=True),
    "not_square": config(vision_image_size=[48, 24], vision_patch_size=[16, 8]),
    "mlp_ratio": config(vision_mlp_ratio=4.3637, text_mlp_ratio=2.5),
    "one_head": config(vision_head_width=48),
    "custom_text": config(custom_text=True),
    "linear_projection": config(custom_text=True, text_proj_bias=True),
    "no_projection": config(custom_text=True, text_proj_type="none", text_width=24),
    "eos": config(text_pool_type="eos", text_eos_id=59),
    "first": config(text_pool_type="first", text_no_causal_mask=True),
    "sin_cos": config(vision_pos_embed_type="sin_cos_2d"),
    "logit_bias": config(init_logit_bias=-10.0, nonscalar_logit_scale=True),
}  # fmt: skip
"""Every option of OpenCLIP's native towers that jaxclip supports, as `model_cfg`."""


def build(cfg, seed=0):
    """open_clip's model of a `model_cfg`, in evaluation mode, its weights all noise."""
    from open_clip.model import CLIP, CustomTextCLIP

    cfg = deepcopy(cfg)
    custom = cfg.pop("custom_text", False)
    return shake((CustomTextCLIP if custom else CLIP)(**cfg), seed)


def shake(model, seed=0):
    """Every parameter replaced by noise of 0.1: around one for LayerNorm weights, around zero elsewhere."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = 0.1 * torch.randn(parameter.shape, generator=generator)
            is_norm = parameter.ndim == 1 and name.endswith("weight")
            parameter.copy_(noise + (2.6 if name.endswith("logit_scale") else float(is_norm)))
    return model.eval()


def make_openclip(folder, cfg=CFG, seed=0, *, preprocess=PREPROCESS, pickled=False, dtype=None):
    """An OpenCLIP folder; returns the model. `dtype` is the torch dtype of the file."""
    import torch
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    model = build(cfg, seed)
    described = {"model_cfg": cfg, **({} if preprocess is None else {"preprocess_cfg": preprocess})}
    (folder / "open_clip_config.json").write_text(json.dumps(described))
    state = {name: tensor.contiguous() if dtype is None else tensor.to(dtype) for name, tensor in _state(model).items()}
    if pickled:
        torch.save(state, folder / "open_clip_pytorch_model.bin")
    else:
        save_file(state, str(folder / "open_clip_model.safetensors"))
    return model


def make_training(path, cfg=CFG, seed=0):
    """A training checkpoint as open_clip writes it on several GPUs, optimizer included; returns the model."""
    import torch

    model = build(cfg, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    sum(parameter.sum() for parameter in model.parameters()).backward()
    optimizer.step()
    shake(model, seed)
    torch.save(
        {
            "epoch": 3,
            "name": "run",
            "state_dict": {f"module.{name}": tensor for name, tensor in model.state_dict().items()},
            "optimizer": optimizer.state_dict(),
            "scaler": {"scale": 65536.0, "growth_interval": 2000},
        },
        path,
    )
    return model


def make_hf(folder, seed=0, *, layout="model.safetensors", eos_token_id=59, hidden_act="quick_gelu", preprocessor=True):
    """A Hugging Face CLIPModel folder; `layout` names its weight file. Returns the transformers model."""
    import torch

    with without_torchvision():
        from transformers import CLIPConfig, CLIPModel
    folder = Path(folder)
    shared = {"hidden_act": hidden_act, "attn_implementation": "eager"}
    config = CLIPConfig(
        text_config={
            "vocab_size": 60, "hidden_size": 32, "intermediate_size": 80, "num_hidden_layers": 2,
            "num_attention_heads": 4, "max_position_embeddings": 12, "eos_token_id": eos_token_id,
            "bos_token_id": 1, "pad_token_id": 0, **shared,
        },
        vision_config={
            "hidden_size": 48, "intermediate_size": 100, "num_hidden_layers": 3, "num_attention_heads": 6,
            "image_size": 32, "patch_size": 8, **shared,
        },
        projection_dim=24,
    )  # fmt: skip
    model = shake(CLIPModel(config), seed)
    sharded = layout.endswith(".index.json")
    model.save_pretrained(folder, max_shard_size="60KB" if sharded else "1GB")
    if layout == "pytorch_model.bin":
        torch.save(model.state_dict(), folder / layout)
        (folder / "model.safetensors").unlink()
    if preprocessor:
        fields = {
            "do_resize": True, "size": {"shortest_edge": 32}, "resample": 3, "do_center_crop": True,
            "crop_size": {"height": 32, "width": 32}, "do_rescale": True, "rescale_factor": 1 / 255,
            "do_normalize": True, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "do_convert_rgb": True,
            "image_processor_type": "CLIPImageProcessor",
        }  # fmt: skip
        (folder / "preprocessor_config.json").write_text(json.dumps(fields))
    return model


def make_openai(path, seed=0, *, scripted=True):
    """An OpenAI archive: float16 weights under OpenAI's names in TorchScript. Returns open_clip's model of it.

    With `scripted=False` it is a plain state dict with the same names.
    """
    import torch

    cfg = config(
        quick_gelu=True, vision_width=128, vision_head_width=64, text_width=64, text_heads=1,
    )  # fmt: skip
    model = build(cfg, seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half().float())
    sizes = {
        "input_resolution": torch.tensor(32),
        "context_length": torch.tensor(cfg["text_cfg"]["context_length"]),
        "vocab_size": torch.tensor(cfg["text_cfg"]["vocab_size"]),
    }
    state = {name: tensor.half() for name, tensor in _state(model).items()}
    if not scripted:
        torch.save({**state, **sizes}, path)
        return model
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch announces the end of TorchScript; the old files stay.
        torch.jit.script(_Named.tree(state, sizes)).save(str(path))
    return model


@contextmanager
def without_torchvision():
    """transformers takes the stand-in for the real one, and asks it for more; its models do not need either."""
    import transformers.utils.import_utils as available

    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "torchvision"}
    for asked in (available.is_torchvision_available, available.is_torchvision_v2_available):
        if hasattr(asked, "cache_clear"):
            asked.cache_clear()
    if hasattr(available, "_torchvision_available"):  # versions that look once, when they are imported
        available._torchvision_available = False
    try:
        yield
    finally:
        sys.modules.update(hidden)


def _state(model):
    return {name: tensor.detach() for name, tensor in model.state_dict().items() if name != "attn_mask"}


class _Named:
    """A module tree that holds tensors under dotted names and computes nothing."""

    @staticmethod
    def tree(parameters, buffers):
        import torch

        class Bag(torch.nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return x

        root = Bag()
        for name, tensor in {**parameters, **buffers}.items():
            *path, leaf = name.split(".")
            node = root
            for part in path:
                if part not in node._modules:
                    node.add_module(part, Bag())
                node = node._modules[part]
            if tensor.is_floating_point():
                node.register_parameter(leaf, torch.nn.Parameter(tensor))
            else:
                node.register_buffer(leaf, tensor)
        return root
