"""Tokenising against open_clip's own tokenizers, id for id."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers import models, normalizers, pre_tokenizers, processors

from jaxclip.tokenizer import ClipTokenizer, MissingTokenizer, Tokenizer, clean_text, from_folder, has_tokenizer

START, END = 49406, 49407
WORDS = """[PAD] [UNK] [CLS] [SEP] a photo of two the red blue bird s water , . ! ' ##s ##bird""".split()  # noqa: SIM905
NASTY = [
    "",
    " \t\n ",
    "A  PHOTO\nof\ta Cat's   whiskers, they'll've 1234 5!",
    "&lt;b&gt; &amp;amp;amp; &eacute; &#128512; &nbsp;x",
    "schÃ¶n â€œquotedâ€\x9d donâ€™t",
    "😀👩‍👩‍👧‍👦🏳️‍🌈 emoji🎉text",
    "日本語 中文 한국어 עברית العربية ไทย",
    "<start_of_text> in the <END_OF_TEXT>middle!<end_of_text>",
    "<|endoftext|> \u017ftart '\u017f \u212a İ ß ŉ ﬁ ①②½",
    "null\x00 bell\x07 \x1b[31mred\x1b[0m \u200bzero\u200d\ufeff",
    "e\u0301 Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L",
    "lone \ud800 surrogate",
    "\u2028line\u2029paragraph\x85next",
    "word " * 200,
    "x" * 3000,
    "!?" * 500,
    "aaaaaaaaaa hahahahaha nananana 0000000",
]


@pytest.fixture(scope="module")
def reference(open_clip):
    return open_clip.SimpleTokenizer()


@pytest.mark.parametrize("name", ["image_descriptions_general.txt", "google_3498_english.txt"])
def test_published_texts_equal_open_clip(shared, reference, name):
    texts = (shared / "texts" / name).read_text().splitlines()
    assert len(texts) == 3498
    np.testing.assert_array_equal(ClipTokenizer()(texts), reference(texts).numpy())


@pytest.mark.parametrize("text", NASTY, ids=range(len(NASTY)))
@pytest.mark.parametrize("context", [None, 5, 1])
def test_nasty_texts_equal_open_clip(reference, text, context):
    np.testing.assert_array_equal(ClipTokenizer()(text, context), reference(text, context).numpy())


@settings(deadline=None, max_examples=300)
@given(st.text(max_size=120) | st.text(st.sampled_from("abcehinorst'sS !.,&;#<_>1é\n"), max_size=120))
@example("'S'\u017f'LL")
def test_any_text_equals_open_clip(reference, text):
    np.testing.assert_array_equal(ClipTokenizer()(text), reference(text).numpy())


@pytest.mark.parametrize("clean", ["lower", "whitespace", "canonicalize"])
def test_cleaning_equals_open_clip(open_clip, clean):
    from open_clip.tokenizer import get_clean_fn

    for text in NASTY:
        assert clean_text(text, clean) == get_clean_fn(clean)(text)
    texts = [*NASTY, "Snow_White & the 7 Dwarfs (1937)"]
    expected = open_clip.SimpleTokenizer(clean=clean)(texts).numpy()
    np.testing.assert_array_equal(ClipTokenizer(clean=clean)(texts), expected)


@pytest.mark.parametrize(
    "text", ["a &amp;lt; b", "&amp;amp;lt;b&gt;", "1 < 2 &amp;lt; 3", "&amp;#60;i&amp;#62;", "a<b &amp;eacute; <br>"]
)
@pytest.mark.parametrize("clean", ["lower", "whitespace", "canonicalize"])
def test_entities_are_unescaped_twice_beside_a_plain_sign(open_clip, text, clean):
    """ftfy unescapes where there is no `<`, so only such texts tell once from twice."""
    from open_clip.tokenizer import get_clean_fn

    assert clean_text(text, clean) == get_clean_fn(clean)(text)
    expected = open_clip.SimpleTokenizer(clean=clean)(text).numpy()
    np.testing.assert_array_equal(ClipTokenizer(clean=clean)(text), expected)


def test_rows_start_end_and_are_padded():
    tokens = ClipTokenizer(context=8)(["", "a photo", "one two three four five six seven eight"])
    assert tokens.dtype == np.int32
    assert tokens[0].tolist() == [START, END, 0, 0, 0, 0, 0, 0]
    assert tokens[1, [0, 3, 4]].tolist() == [START, END, 0]
    assert tokens[2, [0, 7]].tolist() == [START, END]
    assert ClipTokenizer(context=8, pad_id=END)("a photo")[0, 3:].tolist() == [END] * 5


@pytest.mark.parametrize("make", ["clip", "folder"])
def test_decode_gives_the_cleaned_text_back(make, bert_folder):
    tokenizer = ClipTokenizer() if make == "clip" else from_folder(bert_folder, context=12)
    assert isinstance(tokenizer, Tokenizer)
    hash(tokenizer)  # a static field of a pytree
    texts = ["a photo of two red", "", "the red bird"]
    assert tokenizer.decode(tokenizer(texts)) == texts
    assert tokenizer.decode(tokenizer("the water")[0]) == ["the water"]


@pytest.mark.usefixtures("unchecked")
def test_decode_shows_broken_bytes_and_refuses_other_ids():
    tokenizer = ClipTokenizer()
    tokens = tokenizer("𓀀")
    assert tokenizer.decode(tokens[:, :3]) == ["\ufffd"]
    with pytest.raises(ValueError, match="from 0 to 49407; got 0 to 49408"):
        tokenizer.decode(np.array([[0, 49408]]))
    with pytest.raises(ValueError, match="rows of integers; got float64"):
        tokenizer.decode(np.zeros(3))


@pytest.fixture(scope="module")
def bert_folder(tmp_path_factory):
    """A small WordPiece tokenizer in Hugging Face's own files."""
    from transformers import PreTrainedTokenizerFast

    backend = Backend(models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    folder = tmp_path_factory.mktemp("bert")
    PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "options", [{}, {"clean": "lower"}, {"clean": "canonicalize"}, {"strip_sep_token": True}], ids=str
)
def test_a_folders_tokenizer_equals_open_clip(open_clip, bert_folder, options):
    expected = open_clip.tokenizer.HFTokenizer(str(bert_folder), context_length=9, **options)
    texts = [*NASTY[:-5], "a photo of two birds, the red bird's water!", "the red_bird bird bird bird bird bird bird"]
    tokens = from_folder(bert_folder, 9, **options)
    np.testing.assert_array_equal(tokens(texts), expected(texts).numpy())
    np.testing.assert_array_equal(tokens(texts, 4), expected(texts, 4).numpy())


def test_left_padding_and_truncation_are_the_tokenizers_own(open_clip, bert_folder, tmp_path):
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(bert_folder, padding_side="left", truncation_side="left").save_pretrained(tmp_path)
    texts = ["two birds", "a photo of two birds, the red bird's water!"]
    expected = open_clip.tokenizer.HFTokenizer(str(tmp_path), context_length=7)(texts).numpy()
    assert expected[0, 0] == 0
    np.testing.assert_array_equal(from_folder(tmp_path, 7)(texts), expected)


def test_a_bare_tokenizer_json_is_enough_once_its_padding_is_known(bert_folder, tmp_path):
    (tmp_path / "tokenizer.json").write_bytes((bert_folder / "tokenizer.json").read_bytes())
    with pytest.raises(ValueError, match="names no padding token; pass pad_id=X"):
        from_folder(tmp_path, 9)
    texts = ["two birds", ""]
    np.testing.assert_array_equal(from_folder(tmp_path, 9, pad_id=0)(texts), from_folder(bert_folder, 9)(texts))
    assert from_folder(bert_folder, 9, pad_id=7)("two")[0].tolist() == [2, 7, 3, 7, 7, 7, 7, 7, 7]


def test_folders_without_a_usable_tokenizer(bert_folder, tmp_path):
    assert has_tokenizer(bert_folder)
    assert not has_tokenizer(tmp_path)
    with pytest.raises(FileNotFoundError, match="holds no tokenizer"):
        from_folder(tmp_path, 9)
    (tmp_path / "tokenizer.json").write_text("{ half a file")
    with pytest.raises(ValueError, match="cannot be read"):
        from_folder(tmp_path, 9)
    with pytest.raises(ValueError, match="tokenizer options reduction_mask are not supported"):
        from_folder(bert_folder, 9, reduction_mask="simple", language=None)
    with pytest.raises(
        ValueError, match="clean must be one of lower, whitespace, canonicalize, transformers, none; got 'upper'"
    ):
        from_folder(bert_folder, 9, clean="upper")


def test_a_missing_tokenizer_says_what_is_missing():
    missing = MissingTokenizer("vocabulary 512 is not CLIP's; pass load(..., tokenizer=X).")
    assert isinstance(missing, Tokenizer)
    with pytest.raises(ValueError, match="no tokenizer: vocabulary 512 is not CLIP's; pass"):
        missing("a photo")
    with pytest.raises(ValueError, match="no tokenizer"):
        missing.decode(np.zeros((1, 3), int))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "texts is empty"),
        (["a", 3.5], "item 1 is float: 3.5"),
        (["a", None], "item 1 is NoneType"),
        ([b"a"], "item 0 is bytes"),
        (b"a", "a string or a list of strings; got bytes"),
        (7, "a string or a list of strings; got int"),
    ],
)
def test_texts_that_are_none(texts, message):
    with pytest.raises(ValueError, match=message):
        ClipTokenizer()(texts)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("context", [0, -3, 2.5])
def test_a_context_is_a_positive_number(context):
    with pytest.raises(ValueError, match="context must be a positive integer"):
        ClipTokenizer(context=context)


def test_clips_own_tokenizer_needs_neither_transformers_nor_a_file():
    code = "import sys, jaxclip.tokenizer as t; t.ClipTokenizer()('a'); sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
