r"""Names of files as text that can be written down, and back.

A name is bytes, and Python keeps those that are no UTF-8 as half characters that no file of results can hold. Here
such a byte is written \xe9. So that no two names become one, a backslash that would read like that is itself written
\x5c; all other names stay what they are.
"""

import re

_BYTE = re.compile(r"\\x([0-9a-f]{2})")
_UNSAFE = re.compile(r"\\(?=x[0-9a-f]{2})|[\udc80-\udcff]")


def written(name: str) -> str:
    """A file's name as results have it."""
    return _UNSAFE.sub(lambda found: f"\\x{0x5C if found[0] == chr(0x5C) else ord(found[0]) - 0xDC00:02x}", name)


def as_named(text: str) -> str:
    """The file's name again."""

    def character(found: re.Match[str]) -> str:
        value = int(found[1], 16)
        return chr(value if value < 0x80 else 0xDC00 + value)

    return _BYTE.sub(character, text)
