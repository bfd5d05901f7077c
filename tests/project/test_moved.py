"""Earlier names of modules lead to where they are now."""

import subprocess
import sys
from importlib.util import find_spec

import pytest

from jaxclip.moved import MOVED


@pytest.mark.parametrize(("earlier", "now"), MOVED.items())
def test_an_earlier_name_is_the_module_itself(earlier, now):
    code = f"import {earlier} as one, {now} as other; assert one is other and other.__name__ == {now!r}"
    done = subprocess.run([sys.executable, "-W", "default", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"DeprecationWarning: {earlier} is now {now}." in done.stderr


def test_other_names_are_as_missing_as_ever():
    assert find_spec("jaxclip.runs") is not None
    with pytest.raises(ModuleNotFoundError, match=r"jaxclip\.nothing"):
        __import__("jaxclip.nothing")
