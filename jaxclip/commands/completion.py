"""`jaxclip completion`: the shell knows the commands and their arguments."""

import contextlib
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class Completion:
    """Print a script that completes commands, arguments and choices in your shell.

    jaxclip completion bash > jaxclip_completion.sh
    source jaxclip_completion.sh
    """

    shell: Positional[Annotated[Literal["bash", "zsh", "fish"], arg(metavar="{bash,zsh,fish}")]]
    """Yours. To keep it: ~/.local/share/bash-completion/completions/jaxclip for bash,
    ~/.config/fish/completions/jaxclip.fish for fish, a file _jaxclip in a folder of $fpath for zsh."""

    def run(self) -> dict[str, Any] | None:
        import tyro

        from jaxclip.cli import COMMANDS
        from jaxclip.commands.optional import REGISTRY

        with contextlib.suppress(SystemExit):  # tyro prints the script and leaves
            tyro.extras.subcommand_cli_from_dict(
                COMMANDS,
                prog="jaxclip",
                args=["--tyro-print-completion", self.shell],
                registry=REGISTRY,
            )
        return None
