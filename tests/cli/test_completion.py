"""Completion as it is met: real shells are asked what they offer, in a folder with files of its own."""

import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from command import status

from jaxclip.cli.candidates import complete
from jaxclip.cli.main import COMMANDS

FILES = {"a picture.png", "other.txt", "pictures/"}
OFFERED = [
    ("jaxclip ", set(COMMANDS)),
    ("jaxclip he", {"heatmap"}),
    ("jaxclip --v", {"--version"}),
    ("jaxclip nothing ", set()),
    ("jaxclip run scenes scenes --bank-d", {"--bank-dtype"}),
    ("jaxclip run --kind c", {"classes", "cub", "cifar"}),
    ("jaxclip run scenes scenes --batch ", set()),
    ("jaxclip ablate run --t", {"--templates", "--texts"}),
    ("jaxclip completion ", {"bash", "zsh", "fish"}),
    ("jaxclip heatmap scenes ", FILES),
    ("jaxclip heatmap scenes o", {"other.txt"}),
    ("jaxclip heatmap scenes other.txt --format png p", {"png", "pdf"}),
    ("jaxclip report --out ", FILES),
    ("jaxclip demo --js", {"--json"}),
]

BASH = """
source ../completion
COMP_LINE=$TYPED; COMP_POINT=${#TYPED}; read -r -a COMP_WORDS <<< "$TYPED"
[[ $TYPED == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
"$(complete -p jaxclip | sed 's/.* -F \\([^ ]*\\) .*/\\1/')"
for one in "${COMPREPLY[@]}"; do [[ -d $one ]] && echo "$one/" || echo "$one"; done
"""
FISH = 'source ../completion; complete --do-complete "$TYPED" | cut -f 1'
# A widget that puts all matches into the line, run as soon as there is a prompt; completion needs a line editor.
ZSH = """
{load}
insert_all() {{ compstate[insert]=all }}
every() {{ comppostfuncs=(insert_all); _main_complete }}
zle -C every complete-word every
ask() {{
  local typed
  for typed in "${{(@f)TYPED}}"; do
    BUFFER=$typed; CURSOR=$#BUFFER
    zle every
    print -r -- ${{(z)BUFFER}} >> ../answers
  done
  exit
}}
zle -N zle-line-init ask
"""
FROM_FPATH = "fpath=($ZDOTDIR $fpath); autoload -Uz compinit && compinit -u -D"
SOURCED = "autoload -Uz compinit && compinit -u -D; source $ZDOTDIR/_jaxclip"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with files to offer, and above it a jaxclip that is this one."""
    folder = tmp_path_factory.mktemp("completion") / "files"
    (folder / "pictures").mkdir(parents=True)
    for name in ("a picture.png", "other.txt"):
        (folder / name).touch()
    program = folder.parent / "jaxclip"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m jaxclip "$@"\n')
    program.chmod(0o755)
    return folder


def asked(place, typed, command, **options):
    environment = os.environ | {
        "PATH": f"{place.parent}:{os.environ['PATH']}", "HOME": str(place.parent), "ZDOTDIR": str(place.parent),
        "TERM": "xterm", "TYPED": typed,
    }  # fmt: skip
    return subprocess.run(command, cwd=place, env=environment, text=True, timeout=60, check=False, **options)


@pytest.fixture
def script(place, capsys):
    def save(shell, name="completion"):
        assert status("completion", shell) == 0
        (place.parent / name).write_text(capsys.readouterr().out)

    return save


def needs(shell):
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"needs {shell}")


@pytest.mark.parametrize(("shell", "ask"), [
    pytest.param("bash", ("bash", "-c", BASH), marks=needs("bash"), id="bash"),
    pytest.param("fish", ("fish", "--no-config", "-c", FISH), marks=needs("fish"), id="fish"),
])  # fmt: skip
def test_bash_and_fish_offer_what_may_stand_there(place, script, shell, ask):
    script(shell)
    for typed, offered in OFFERED:
        done = asked(place, typed, ask, capture_output=True)
        assert set(done.stdout.splitlines()) - {""} == offered, (typed, done.stderr)


@needs("zsh")
@pytest.mark.parametrize("load", [FROM_FPATH, SOURCED], ids=["fpath", "sourced"])
def test_zsh_offers_what_may_stand_there(place, script, load):
    pty = pytest.importorskip("pty", reason="needs a terminal")
    script("zsh", "_jaxclip")
    (place.parent / ".zshrc").write_text(ZSH.format(load=load))
    ours, theirs = pty.openpty()
    lines = OFFERED if load == FROM_FPATH else OFFERED[:2]
    typed = "\n".join(line for line, _ in lines)
    asked(place, typed, ("zsh", "-i"), start_new_session=True, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.close(ours)
    answers = (place.parent / "answers").read_text().splitlines()
    (place.parent / "answers").unlink()
    for (line, offered), answer in zip(lines, answers, strict=True):
        kept = line.split() if line.endswith(" ") else line.split()[:-1]
        words = shlex.split(answer)
        assert words[: len(kept)] == kept
        assert set(words[len(kept) :]) == offered, line


@pytest.mark.parametrize("command", COMMANDS)
def test_every_argument_that_help_shows_is_offered_with_what_it_is(capsys, command):
    assert status(command, "--help") == 0
    shown = re.findall(r"^(?:│ |  )(?:-h, )?(--\S+?)(?:, (--\S+))?(?: |$)", capsys.readouterr().out, re.MULTILINE)
    offered = complete([command, "--"], COMMANDS)
    assert set(offered) == {flag for flags in shown for flag in flags if flag}
    assert all(offered.values())
