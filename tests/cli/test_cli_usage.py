"""The command line before anything runs: what help shows, and what is wrong with arguments."""

import errno
import json
import os
import resource
import shlex
import subprocess
import sys
import tempfile

import pytest
from command import status as run

import jaxclip
import jaxclip.clip
from jaxclip.cli.main import COMMANDS, main
from jaxclip.cli.usage import about, parse


def test_help_at_a_glance_names_every_command_in_the_order_of_use(capsys):
    assert run("--help") == 0
    shown = capsys.readouterr().out
    places = [shown.index(f"\n  {command} ") for command in COMMANDS]
    assert places == sorted(places)
    order = "convert verify decompose heatmap run textspan ablate debias retrieve segment report plan"
    assert " ".join(COMMANDS).startswith(order)
    assert max(map(len, shown.splitlines())) <= 120


def test_help_version_completion_and_usage_errors_import_nothing_heavy():
    code = f"""
import contextlib, io, sys
from jaxclip.cli.main import main
asked = [["--help"], ["--version"], ["completion", "bash"], ["run", "--kind", "x"], ["ablat"]]
asked += [["--complete", "run", ""]]
for words in asked + [[name, "--help"] for name in {list(COMMANDS)}]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        with contextlib.suppress(SystemExit):
            main(words)
    heavy = {{"jax", "flax", "numpy", "matplotlib", "transformers", "torch", "PIL"}} & set(sys.modules)
    assert not heavy, (words, heavy)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_help_answers_at_once():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", "jaxclip", "--help"], capture_output=True, timeout=60, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert b"decompose" in done.stdout
    # Processor time, for other tests may be running; about 0.15 s.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_ends_with_an_example_whose_arguments_are_right(command, capsys):
    assert run(command, "--help") == 0
    shown = capsys.readouterr().out
    assert "--json" in shown.split("every command:")[1]
    examples = [line.strip() for line in shown.split("example:")[1].splitlines() if line.startswith("  jaxclip ")]
    assert any(line.startswith(f"jaxclip {command}") for line in examples)
    for line in examples:
        words = shlex.split(line.split(">")[0])[1:]
        parse(words[0], COMMANDS[words[0]], words[1:])


@pytest.mark.large
def test_examples_work_as_they_stand(tmp_path, monkeypatch, capsys):
    """One after another, for some go on from others; plan needs a Python with libtpu."""
    monkeypatch.chdir(tmp_path)
    lines = [line for name in COMMANDS if name != "plan" for line in about(COMMANDS[name])[1].splitlines()]
    for line in dict.fromkeys(lines):
        if line.startswith("jaxclip "):
            assert run(*shlex.split(line.split(">")[0])[1:], "--json") == 0, line
            printed = capsys.readouterr().out
            assert line.startswith("jaxclip completion") or json.loads(printed)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("run scenes scenes --out x --kind foo", "--kind must be one of cifar, classes, cub,"),
        ("run scenes scenes --out x --batch many", "--batch takes INT; got 'many'."),
        ("run scenes scenes --out x --lable a", "there is no argument --lable"),
        ("debias r --out x --lable shape", "did you mean --label?"),
        ("textspan r --out x --layers last", "--layers takes {[INT [INT ...]]}|{all}; got 'last'."),
        ("heatmap scenes a.jpg a --format gif --out x", "--format must be one of pdf, png, svg; got 'gif'."),
        ("heatmap scenes", "IMAGE, --out PATH are missing."),
        ("convert a b --dtype float64", "--dtype must be one of bfloat16, float16, float32; got 'float64'."),
        ("completion csh", "got 'csh'."),
        ("report r --out", "--out"),
        ("verify scenes more", "there is no argument more."),
        ("ablat", "there is no command ablat; did you mean ablate?"),
        ("run scenes scenes --out x --limit None", "--limit takes INT; got 'None'."),
    ],
)
def test_bad_usage_is_one_line_and_exits_2(capsys, line, said):
    assert run(*line.split()) == 2
    (only,) = capsys.readouterr().err.splitlines()
    assert only.startswith("jaxclip: ")
    assert said in only
    assert "--help` shows" in only


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("decompose scenes missing.jpg --texts a b --out x", "missing.jpg: there is no such picture"),
        ("decompose scenes scenes/0 --texts a b --out {file}", "is a file; --out needs a folder"),
        ("decompose scenes --texts a b --out x", "name a picture"),
        ("decompose scenes {words} --texts a b --out x", "words.png: this is no image"),
        ("decompose scenes scenes/0 --texts '' a --out x", "text 1 of 2 is blank"),
        ("heatmap scenes scenes/0 a b a --out x", "every text must be given once; got 'a' 2 times"),
        ("heatmap scenes missing.jpg a b --out x", "missing.jpg"),
        ("heatmap scenes scenes/0 a b --heads 5.x --out x", "got '5.x'"),
        ("heatmap scenes scenes/0 --out x", "pass at least one"),
        ("heatmap scenes scenes/0 a --image-size 0 --out x", "--image-size must be at least 1; got 0."),
        ("run scenes scenes --out {file}", "is a file"),
        ("run scenes scenes --limit 0 --out x", "--limit must be at least 1; got 0."),
        ("run scenes nowhere --out x", "nowhere"),
        ("run scenes scenes --split dev --out x", "dev"),
        ("run scenes scenes --out {folder}", "and is no run; name another folder"),
        ("run scenes scenes --save-every -5 --out x", "--save-every must be 0 seconds or more; got -5."),
        ("run scenes scenes --model-axis 3 --out x", "--model-axis must divide the number of devices"),
        ("run scenes {file}.txt --out x", "file.txt names no images"),
        ("run scenes scenes --by colour --no-moments --bank --out x", "moments"),
        ("run scenes scenes --by mood --out x", "mood"),
        ("verify scenes --batch 0", "--batch must be at least 1; got 0."),
        ("verify scenes --out {folder}", "is a folder; --out needs a file"),
        ("segment scenes scenes --heads 5,3 --out x", "got '5,3'"),
        ("segment scenes nowhere --out x", "nowhere"),
        ("segment scenes {words} --classes a b --out x", "words.png: this is no image"),
        ("segment scenes scenes --classes {file}.txt --out x", "file.txt names no classes"),
        ("segment scenes scenes --window -4 --out x", "--window must be at least 1; got -4."),
        ("segment scenes scenes --classes star star --out x", "'star' 2 times"),
        ("textspan nowhere --out x", "nowhere"),
        ("ablate nowhere --out x", "nowhere"),
        ("debias nowhere --out x --property background", "nowhere"),
        ("debias nowhere --out x --property background --seed -1", "--seed must be 0 or more; got -1."),
        ("retrieve nowhere 0 --property background", "nowhere"),
        ("report nowhere --out {folder}", "is a folder"),
        ("report nowhere --out x", "nowhere"),
        ("report nowhere --out x --texts a ''", "text 2 of 2 is blank"),
        ("report nowhere --out {file}/x", "is a file"),
        ("demo --out {file}", "is a file; --out needs a folder"),
        ("plan ViT-B-16 --topology square --python {python}", "square"),
        ("plan ViT-B-16 --batch 0", "--batch must be at least 1; got 0."),
    ],
)
def test_what_is_wrong_is_said_in_one_line_before_a_model_loads(tmp_path, monkeypatch, capsys, line, said):
    def load(*_arguments, **_options):
        pytest.fail("the model was loaded first")

    monkeypatch.setattr(jaxclip.clip, "load", load)
    monkeypatch.chdir(tmp_path)
    for name in ("file", "file.txt"):
        (tmp_path / name).touch()
    (tmp_path / "words.png").write_text("words")
    places = {"file": tmp_path / "file", "words": tmp_path / "words.png"}
    filled = line.format(**places, folder=tmp_path, python=sys.executable)
    assert run(*shlex.split(filled)) == 1
    (only,) = capsys.readouterr().err.splitlines()
    assert only.startswith("jaxclip: ")
    assert said in only
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("command", [name for name, kind in COMMANDS.items() if "out" in kind.__dataclass_fields__])
def test_where_nothing_can_be_written_is_found_first(command, tmp_path, monkeypatch, capsys):
    def refused(**_options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    words = shlex.split(about(COMMANDS[command])[1].splitlines()[-1])[1:]
    named = "--out" in words or command in ("convert", "demo")
    assert run(*words, *(() if named else ("--out", "new/file.json"))) == 1
    (only,) = capsys.readouterr().err.splitlines()
    assert only == f"jaxclip: nothing can be written in . ({os.strerror(errno.EROFS)}); name another --out."
    assert not list(tmp_path.iterdir())


def test_a_bug_is_one_line_and_how_to_see_more(monkeypatch, capsys):
    def broken(_self):
        return {}["what is not there"]

    monkeypatch.setattr(COMMANDS["verify"], "run", broken)
    assert run("verify", "scenes") == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "jaxclip: this should not happen, KeyError: 'what is not there'"
    assert lines[1:] == ["Run again with --debug for what to report."]
    with pytest.raises(KeyError):
        main(["verify", "scenes", "--debug"])


def test_an_interruption_is_no_traceback(monkeypatch, capsys):
    def interrupted(_self):
        raise KeyboardInterrupt

    monkeypatch.setattr(COMMANDS["verify"], "run", interrupted)
    assert run("verify", "scenes") == 130
    assert capsys.readouterr().err == "jaxclip: interrupted\n"


def test_debug_shows_the_traceback():
    with pytest.raises(ValueError, match="at least 1"):
        main(["demo", "--n-scenes", "0", "--debug"])


def test_version(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out == f"jaxclip {jaxclip.__version__}\n"
