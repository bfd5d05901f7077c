"""`jaxclip completion`: what a shell offers while a command is being typed.

The scripts hold no list. They ask `jaxclip --complete` with the words so far, so a script that was kept goes on to say
what the installed version takes: first "files" or "words", then a candidate a line, a tab, and what it is.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import Positional, arg

BASH = r"""
_jaxclip() {
  local IFS=$'\n' said
  said=($("${COMP_WORDS[0]/#\~/$HOME}" --complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f 1))
  if [[ ${said[0]} == files ]]; then
    compopt -o filenames 2>/dev/null
    COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}"))
  else
    COMPREPLY=("${said[@]:1}")
  fi
}
complete -F _jaxclip jaxclip
"""

# In a folder of $fpath the whole file is the function, and is run to complete; sourced, it says what it is for.
ZSH = r"""
#compdef jaxclip
_jaxclip() {
  local -a said
  said=("${(@f)$("${words[1]/#\~/$HOME}" --complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ $said[1] == files ]]; then
    _files
  elif (( $#said > 1 )); then
    said=("${(@)said[2,-1]/$'\t'/:}")
    _describe jaxclip said
  fi
}
if [[ $funcstack[1] == _jaxclip ]]; then
  _jaxclip "$@"
else
  compdef _jaxclip jaxclip
fi
"""

FISH = r"""
function _jaxclip
    set -l typed (commandline --tokenize --cut-at-cursor --current-process)
    set -l word (commandline --current-token --cut-at-cursor)
    set -l program (string replace --regex '^~' $HOME -- $typed[1])
    set -e typed[1]
    set -l said ($program --complete $typed "$word" 2>/dev/null)
    if test "$said[1]" = files
        __fish_complete_path $word
    else
        set -e said[1]
        string join \n -- $said
    end
end
complete --command jaxclip --no-files --arguments "(_jaxclip)"
"""

SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


@dataclass(frozen=True)
class Completion:
    """Print a script that completes commands, arguments and choices in your shell.

    jaxclip completion bash > jaxclip_completion.sh
    source jaxclip_completion.sh
    """

    shell: Positional[Annotated[Literal["bash", "zsh", "fish"], arg(metavar="{bash,zsh,fish}")]]
    """Yours. To keep it: ~/.local/share/bash-completion/completions/jaxclip for bash,
    ~/.config/fish/completions/jaxclip.fish for fish, a file _jaxclip in a folder of $fpath for zsh."""

    def run(self) -> None:
        print(SCRIPTS[self.shell].strip())
