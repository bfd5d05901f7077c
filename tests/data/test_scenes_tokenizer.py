"""The scenes' own tokenizer: small, lossless, and the same in training, in jaxclip and in open_clip."""

import json
import shutil

import numpy as np
import pytest
from tokenizers import Tokenizer

from jaxclip.data.scenes import CHECKPOINT, PROMPTS, captions, prompts, sample_spec, scene_rng
from jaxclip.tokenizer import from_folder

CONTEXT = 32


@pytest.fixture(scope="module")
def tokenize():
    return from_folder(CHECKPOINT, CONTEXT)


@pytest.fixture(scope="module")
def texts():
    found = [text for factor in PROMPTS for some in prompts(factor) for text in some]
    for index in range(60):
        rng = scene_rng(11, "test", index)
        found += captions(sample_spec(rng, "test", index), rng, 4)
    return found


ODD = [
    "", "  A   RED\n circle ", "caf\u00e9 na\u00efve \u4e2d\u6587 \U0001f986", "red&amp;blue", "don't; 3.14!",
    "a very " * 60 + "long text", "<end> of a circle", "ﬁnch",
]  # fmt: skip


def test_text_comes_back(tokenize, texts):
    assert tokenize.decode(tokenize(texts)) == [f" {text}" for text in texts]
    assert tokenize.decode(tokenize("Caf\u00e9 \u4e2d\u6587")) == [" caf\u00e9 \u4e2d\u6587"]


def test_rows_are_start_text_end_and_zeros(tokenize, texts):
    """The end has the highest id of all, which is where a text tower that pools by `argmax` reads the text."""
    start, end = (tokenize.backend.convert_tokens_to_ids(token) for token in ("<start>", "<end>"))
    assert end == len(tokenize.backend) - 1 < 1024
    rows = tokenize([*texts, *ODD[:-2]])
    assert rows.shape == (len(texts) + len(ODD) - 2, CONTEXT)
    assert (rows[:, 0] == start).all()
    for row in rows:
        last = row.argmax()
        assert row[last] == end
        assert row[1:last].min(initial=end) > start
        assert not row[last + 1 :].any()


def test_captions_fit_and_their_words_are_one_token_each(tokenize, texts):
    rows = tokenize(texts)
    assert (rows[:, -1] == 0).all()
    lengths = (rows > 0).sum(1) - 2
    words = [len(text.replace(",", " ,").split()) for text in texts]
    np.testing.assert_array_equal(lengths, words)


def test_a_text_that_is_too_long_is_cut_and_still_ends(tokenize):
    row = tokenize("red " * 100)[0]
    assert row.argmax() == CONTEXT - 1


def test_training_saw_the_same_tokens(tokenize, texts):
    backend = Tokenizer.from_file(str(CHECKPOINT / "tokenizer.json"))
    backend.enable_padding(length=CONTEXT, pad_id=0, pad_token="<pad>")
    backend.enable_truncation(CONTEXT)
    seen = [encoding.ids for encoding in backend.encode_batch(texts)]
    np.testing.assert_array_equal(tokenize(texts), seen)


def test_open_clip_writes_the_same_tokens(open_clip, tokenize, texts, tmp_path):
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(CHECKPOINT / name, tmp_path)
    text_cfg = {"context_length": CONTEXT, "vocab_size": len(tokenize.backend), "hf_tokenizer_name": "."}
    config = {"model_cfg": {"embed_dim": 8, "vision_cfg": {}, "text_cfg": text_cfg}, "preprocess_cfg": {}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    theirs = open_clip.get_tokenizer(f"local-dir:{tmp_path}")([*texts, *ODD]).numpy()
    np.testing.assert_array_equal(tokenize([*texts, *ODD]), theirs)
