"""The command line: arguments in, library calls, files out. Commands stand in the order one would use them."""

import json
import sys

import tyro

from jaxclip.commands.ablate import Ablate
from jaxclip.commands.common import Failed, say
from jaxclip.commands.debias import Debias
from jaxclip.commands.demo import Demo
from jaxclip.commands.heatmap import Heatmap
from jaxclip.commands.model import Convert, Decompose, Verify
from jaxclip.commands.plan import Plan
from jaxclip.commands.report import Report
from jaxclip.commands.retrieve import Retrieve
from jaxclip.commands.run import Run
from jaxclip.commands.segment import Segment
from jaxclip.commands.textspan import TextSpan

COMMANDS = {
    "convert": Convert,
    "verify": Verify,
    "decompose": Decompose,
    "heatmap": Heatmap,
    "run": Run,
    "textspan": TextSpan,
    "ablate": Ablate,
    "debias": Debias,
    "retrieve": Retrieve,
    "segment": Segment,
    "report": Report,
    "plan": Plan,
    "demo": Demo,
}

DESCRIPTION = """CLIP's image embedding as a sum over layers, heads and image patches.

--json prints a command's result for scripts, --debug shows tracebacks."""


def main(arguments: list[str] | None = None) -> None:
    """Entry point: exit status 0 when all is well, 1 for a finding or an error told in one line, 2 for bad usage."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug, as_json = (flag in arguments and not arguments.remove(flag) for flag in ("--debug", "--json"))
    command = tyro.extras.subcommand_cli_from_dict(
        COMMANDS, prog="jaxclip", description=DESCRIPTION, args=arguments or ["--help"], sort_subcommands=False
    )
    status, result = 0, None
    try:
        result = command.run()
    except Failed as failure:
        status, result = 1, failure.result
        say(f"jaxclip: {failure}")
    except (ValueError, OSError) as error:
        if debug:
            raise
        say(f"jaxclip: {' '.join(str(error).split())}")
        status = 1
    if as_json and result is not None:
        print(json.dumps(result, indent=1))
    sys.exit(status)
