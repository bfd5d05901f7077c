"""Commands of jaxclip as a user runs them, for the figures that they leave beside their numbers."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def command(name: str, *words: object, out: Path, **options: object) -> dict[str, Any]:
    """Run `jaxclip NAME WORDS --out OUT` and read the results.json that it writes there.

    Args:
      name: of the command.
      words: its positional arguments.
      out: its folder.
      options: others, named with underscores; None leaves one out, a tuple gives several values, True none.

    Raises:
      subprocess.CalledProcessError: it failed; it has said why.
    """
    line = [name, *map(str, words), "--out", str(out)]
    for option, value in options.items():
        if value is not None and value != ():
            values = () if value is True else value if isinstance(value, tuple) else (value,)
            line += [f"--{option.replace('_', '-')}", *map(str, values)]
    subprocess.run([sys.executable, "-m", "jaxclip", *line], check=True)
    return json.loads((out / "results.json").read_text(encoding="utf-8"))
