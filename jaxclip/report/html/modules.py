"""The page's modules as one script: each becomes a function that gives what it exports and names what it imports.

A report is opened from the disk, where browsers refuse to import one file from another, and its content security policy
allows one script by its hash. So modules are joined here; between them they share nothing but what they import.
"""

import re
from collections.abc import Callable

IMPORT = re.compile(r'^import \{([\w\s,]+)\} from "\./(\w+)\.js";\n', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:const|function) (\w+))", re.MULTILINE)


def script(first: str, read: Callable[[str], str]) -> str:
    """Join a module and what it imports, each after what it needs.

    Args:
      first: the module that the page begins with.
      read: gives a module's source by its name.

    Raises:
      ValueError: modules import each other in a circle, or a name that is not exported, or in a form that is not read.
    """
    done: dict[str, set[str]] = {}
    return '"use strict";\n' + "".join(_joined(first, read, done, ()))


def _joined(name: str, read: Callable[[str], str], done: dict[str, set[str]], above: tuple[str, ...]) -> list[str]:
    if name in above:
        raise ValueError(f"{' > '.join((*above, name))}: modules of the page import each other in a circle.")
    if name in done:
        return []
    source, parts = read(name), []
    for names, other in IMPORT.findall(source):
        parts += _joined(other, read, done, (*above, name))
        if missing := {one.strip() for one in names.split(",")} - {""} - done[other]:
            raise ValueError(f"{name}.js imports {', '.join(sorted(missing))}, which {other}.js does not export.")
    done[name] = set(EXPORT.findall(source))
    body = EXPORT.sub("", IMPORT.sub(lambda found: f"const {{{found[1]}}} = ${found[2]};\n", source))
    if wrong := re.search(r"^(import|export)\b.*", body, re.MULTILINE):
        raise ValueError(
            f'{name}.js has "{wrong[0]}"; write import {{name}} from "./module.js", or export a const or function.'
        )
    exports = ", ".join(sorted(done[name]))
    return [*parts, f"const ${name} = (() => {{\n{body}return {{{exports}}};\n}})();\n"]
