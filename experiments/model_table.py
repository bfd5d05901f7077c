"""Write convert/models.json from one or two open_clip source folders: what its native ViT configs and tags are.

    python experiments/model_table.py NEWEST/src/open_clip RELEASED/src/open_clip > convert/models.json

Entries that only the newest source has carry `since: "main"`. The others are kept by name
and family, so that they can be refused by name. Facts only; nothing of open_clip is imported by jaxclip.
"""

import argparse
import importlib.util
import json
import sys
import types
from pathlib import Path

from jaxclip.convert.families import family_of  # pyright: ignore[reportMissingImports]


def registry(source: Path) -> dict:
    """open_clip's table of pretrained tags, read from its file without importing the package."""
    package = types.ModuleType("registry_source")
    package.__path__ = [str(source)]
    sys.modules["registry_source"] = package
    for name in ("constants", "version", "pretrained"):
        spec = importlib.util.spec_from_file_location(f"registry_source.{name}", source / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    return module._PRETRAINED


def all_configs(source: Path) -> dict:
    return {path.stem: json.loads(path.read_text()) for path in sorted((source / "model_configs").glob("*.json"))}


def native_configs(source: Path) -> dict:
    """Model configs whose image tower is OpenCLIP's own ViT."""
    return {name: cfg for name, cfg in all_configs(source).items() if is_native(cfg)}


def others(source: Path) -> dict:
    """Names of the other models, by family."""
    found = {}
    for name, cfg in all_configs(source).items():
        if not is_native(cfg):
            found.setdefault(family_of(cfg, name), []).append(name)
    return found


def is_native(cfg: dict) -> bool:
    vision = cfg.get("vision_cfg")
    if not vision or "text_cfg" not in cfg or "genlip_cfg" in cfg or "timm_model_name" in vision:
        return False
    return not isinstance(vision.get("layers"), list)


def table(newest: Path, released: Path) -> dict:
    configs, old = native_configs(newest), native_configs(released)
    preprocess, tags, old_tags = {}, {}, registry(released)
    for name, entries in registry(newest).items():
        # A -quickgelu twin has the quick_gelu tags of its plain name; that rule is code, not data.
        if name not in configs or name.endswith("-quickgelu"):
            continue
        for tag, entry in entries.items():
            fields = {key: entry[key] for key in ("mean", "std", "interpolation", "resize_mode")}
            style = next((known for known, value in preprocess.items() if value == fields), None)
            if style is None:
                style = f"{STYLES[tuple(fields['mean'])]}-{fields['interpolation']}-{fields['resize_mode']}"
                preprocess[style] = fields
            url = entry["url"] or old_tags.get(name, {}).get(tag, {}).get("url")
            tags.setdefault(name, {})[tag] = {
                "repository": entry["hf_hub"].rstrip("/"),
                "activation": "quick_gelu" if entry.get("quick_gelu") or configs[name].get("quick_gelu") else "gelu",
                "preprocess": style,
                **({"url": url} if url else {}),
            }
    models = {name: {"model_cfg": cfg, **({} if name in old else {"since": "main"})} for name, cfg in configs.items()}
    return {"preprocess": preprocess, "models": models, "tags": tags, "others": others(newest)}


def one_entry_a_line(tables: dict) -> str:
    sections = []
    for section, entries in tables.items():
        lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in entries.items())
        sections.append(f" {json.dumps(section)}: {{\n{lines}\n }}")
    return "{\n" + ",\n".join(sections) + "\n}\n"


STYLES = {(0.48145466, 0.4578275, 0.40821073): "openai", (0.485, 0.456, 0.406): "imagenet", (0.5, 0.5, 0.5): "half"}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("newest", type=Path)
    parser.add_argument("released", type=Path)
    args = parser.parse_args()
    sys.stdout.write(one_entry_a_line(table(args.newest, args.released)))
