"""Learns the scenes' own small tokenizer from captions: `python experiments/scenes_tokenizer.py OUT`.

Byte-level pairs, so that every word of any language can be written, though only the captions' words are one token.
Padding is 0 and `<end>` is the highest id, which is where a text tower that pools by `argmax` reads the text.
"""

import argparse
import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from jaxclip.data.scenes import PROMPTS, captions, prompts, sample_spec, scene_rng

CONTEXT = 32
MOST_TOKENS = 1024


def texts(n_scenes: int) -> Iterator[str]:
    for index in range(n_scenes):
        rng = scene_rng(0, "train", index)
        yield from captions(sample_spec(rng, "train", index), rng, 4)


def learn(n_scenes: int = 20_000) -> PreTrainedTokenizerFast:
    """A tokenizer that writes `<start>`, the text, `<end>`, then padding."""
    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=MOST_TOKENS - 1, special_tokens=["<pad>", "<start>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    backend.train_from_iterator(chain(texts(n_scenes), *(chain(*prompts(factor)) for factor in PROMPTS)), trainer)
    backend.add_special_tokens(["<end>"])
    ends = [(token, backend.token_to_id(token)) for token in ("<start>", "<end>")]
    backend.post_processor = processors.TemplateProcessing(single="<start> $A <end>", special_tokens=ends)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<start>", eos_token="<end>", pad_token="<pad>", model_max_length=CONTEXT,
        padding_side="right", truncation_side="right", clean_up_tokenization_spaces=False,
    )  # fmt: skip


def save(tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Hugging Face's files, readable by transformers 4 and 5: each writes a class name the other does not know."""
    tokenizer.save_pretrained(out)
    config = json.loads((out / "tokenizer_config.json").read_text())
    config["add_prefix_space"] = True  # versions 4 ask here, whatever tokenizer.json says
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    config.pop("backend", None)
    for name, fields in (("tokenizer_config.json", config), ("special_tokens_map.json", tokenizer.special_tokens_map)):
        (out / name).write_text(json.dumps(fields, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, help="folder to write the tokenizer's files into")
    save(learn(), parser.parse_args().out)


if __name__ == "__main__":
    main()
