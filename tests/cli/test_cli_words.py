"""Errors of the library in the words of the command line: options as they are typed."""

import shlex
import warnings

import pytest
from command import only_line, status
from PIL import Image

from jaxclip.cli.main import BESIDE, COMMANDS
from jaxclip.cli.typed import as_typed, options


@pytest.mark.parametrize(
    ("command", "said", "typed"),
    [
        ("segment", "these are for way='classes'; so", "these are for --way classes; so"),
        ("segment", "between windows; pass window as well.", "between windows; pass --window as well."),
        ("segment", "no classes: pass them as classes.", "no classes: pass them as --classes."),
        ("segment", "Leave out classes, or pass metrics=False.", "Leave out --classes, or pass --no-metrics."),
        ("segment", "load it with a smaller image_size.", "load it with a smaller --image-size."),
        ("textspan", "steps must be 1 to 32; got 33.", "--steps must be 1 to 32; got 33."),
        ("textspan", "a.png: steps must be few", "a.png: steps must be few"),
        ("run", "by=('mood', 'of day') asks; pass moments=True.", "--by mood 'of day' asks; pass --moments."),
        ("run", "model must divide 1; got model=3.", "--model-axis must divide 1; got --model-axis 3."),
        ("plan", "got values=3 with detail='full'.", "got --values 3 with --detail full."),
        ("convert", "pass like=... or model=..., not both", "pass --like ... or --model ..., not both"),
        ("convert", "or model=, activation= and preprocess=.", "or --model, --activation and --preprocess."),
        ("convert", "out exists; pass overwrite=True, or", "out exists; pass --overwrite, or"),
        ("heatmap", "pass like='A/b'.", f"pass --like A/b.{BESIDE[COMMANDS['convert']]}"),
        ("debias", "run the pass with by='bird'.", "run the pass with --by bird."),
        ("run", "it is too large; pass bank_dtype float32.", "it is too large; pass --bank-dtype float32."),
        # What is no argument stays as it is.
        ("convert", "it has vision image_size (2, 2)", "it has vision image_size (2, 2)"),
        ("heatmap", "/data/limit=3/by=2.png: no picture", "/data/limit=3/by=2.png: no picture"),
        ("segment", "'way=classes' is no file", "'way=classes' is no file"),
        ("convert", "has num_channels=4; text_cfg.dtype='x'", "has num_channels=4; text_cfg.dtype='x'"),
    ],
)  # fmt: skip
def test_a_librarys_words_as_they_are_typed(command, said, typed):
    assert as_typed(said, COMMANDS[command], BESIDE) == typed


def test_warnings_are_notes_of_one_line_without_what_cannot_be_typed(monkeypatch, capsys):
    def warned(_self):
        warnings.warn("1 image of 2. is turned. Pass apply_exif=True to turn it.", stacklevel=2)

    turned = "1 image of 2. is turned."
    for line, said in (("verify scenes", turned), ("run a b --out x", f"{turned} Pass --apply-exif to turn it.")):
        words = line.split()
        monkeypatch.setattr(COMMANDS[words[0]], "run", warned)
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            assert status(*words) == 0
        assert capsys.readouterr().err == f"{said}\n"


def test_every_option_is_known_as_its_help_shows_it(capsys):
    for name, kind in COMMANDS.items():
        assert status(name, "--help") == 0
        shown = capsys.readouterr().out
        assert all(flag in shown for flag in options(kind).values()), name


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("segment scenes scenes --background sky", "background texts are for --way classes;"),
        ("segment scenes scenes --stride 4", "pass --window as well."),
        ("segment scenes scenes --way classes --classes cat dog", "Leave out --classes, or pass --no-metrics."),
        ("segment scenes scenes --window 8", "a smaller --image-size."),
        ("segment scenes scenes --batch 0", "--batch must be at least 1; got 0."),
        ("run scenes scenes --by shape --no-moments --bank", "--by shape asks for moments; pass --moments."),
        ("run scenes scenes --model-axis 3", "--model-axis must divide"),
        ("run scenes scenes --batch 8 --parts 3", "pass --parts that divide it."),
        ("run scenes mixed", "pass --kind folder for the first or --kind classes for the second."),
        ("convert scenes . --overwrite", "is not replaced. Name another folder."),
        ("convert scenes mixed", "pass --overwrite, or name another folder."),
        ("convert scenes out --like ViT-B-16/openai --model ViT-B-16", "pass --like ... or --model ..., not both"),
        ("convert scenes out --preprocess blurred", "--preprocess blurred is not known"),
        ("report nowhere --examples 0", "--examples must be at least 1; got 0."),
        ("plan ViT-B-16 --values 3 --detail full", "got --values 3 with --detail full."),
    ],
)
def test_what_a_user_sees(tmp_path, monkeypatch, capsys, line, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mixed" / "inside").mkdir(parents=True)
    for path in ("mixed/a.png", "mixed/inside/b.png"):
        Image.new("RGB", (8, 8)).save(path)
    words = shlex.split(line)
    assert status(*words, *(() if words[0] == "convert" else ("--out", "out"))) == 1
    assert said in only_line(capsys.readouterr())
