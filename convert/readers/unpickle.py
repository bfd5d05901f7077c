"""A pickle's instructions, followed by a machine that knows what weights are written with and nothing else.

Python's own unpickler does what a pickle asks: it imports and calls by name, hashes what it is given however deeply it
is nested (which can end the process), and copies a list as often as it is told to. Here names become stand-ins, keys
are plain words and numbers, and no more is ever copied than the pickle has bytes.
"""

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

CONSTANTS = frozenset(
    {
        "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
        "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE",
        "BINUNICODE8",
    }
)  # fmt: skip
"""Instructions that push the value that is written in them."""
LARGEST_KEY = 2**31  # whole numbers beyond could be chosen so that they all fall into one place of a table


class Refused(ValueError):
    """An error: a pickle calls a function that is not known; the words are its name."""


@dataclass(frozen=True, eq=False, slots=True)
class StandIn:
    """An inert thing to call, which a pickle gets for the name of a class or function."""

    call: Callable[..., Any]


@dataclass(frozen=True, eq=False, slots=True)
class Unknown:
    """The name of a class or function that is not known: it may be held and made an object of, but not called.

    Python, too, only makes an empty object for a class and then fills it; it is functions that run.
    """

    name: str


@dataclass(frozen=True, eq=False, slots=True)
class Inert:
    """An object of an unknown class: that class's name, and nothing of what it was filled with."""

    name: str


class Attributes(dict):
    """Stand-in for any object of a TorchScript archive: its attributes, and no behaviour."""


class Unpickler:
    """A machine that runs the instructions of one pickle.

    Args:
      find: the stand-in or constant for a module and a name, or `Unknown`.
      load: the object that a persistent id means.
    """

    def __init__(self, pickled: bytes, find: Callable[[str, str], Any], load: Callable[[Any], Any]) -> None:
        self._pickled, self._find, self._load = pickled, find, load
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._spare = len(pickled)

    def read(self) -> Any:
        """Run the pickle and return its object.

        Raises:
          Refused: it calls what is not known.
          ValueError: an instruction that weights do not need, or one that makes no sense in its place.
        """
        for instruction, argument, _ in pickletools.genops(self._pickled):
            name = instruction.name
            if name == "STOP":
                break
            if name in CONSTANTS:
                self._stack.append(argument)
            elif name in ACTIONS:
                ACTIONS[name](self, argument)
            else:
                raise ValueError(f"it holds the instruction {name}, which no weights need")
        return self._pop()

    def _pop(self) -> Any:
        if len(self._stack) <= (self._marks[-1] if self._marks else 0):
            raise ValueError("it takes more than was put there")
        return self._stack.pop()

    def _pop_mark(self) -> list[Any]:
        if not self._marks:
            raise ValueError("it lacks the start of a list")
        start = self._marks.pop()
        taken = self._stack[start:]
        del self._stack[start:]
        return taken

    def _top(self, kind: type) -> Any:
        if not self._stack or not isinstance(self._stack[-1], kind):
            raise ValueError(f"it adds to something that is no {kind.__name__}")
        return self._stack[-1]

    def _copies(self, n: int) -> None:
        """Count what a pickle copies from what it wrote once, which is bounded by its length."""
        self._spare -= n
        if self._spare < 0:
            raise ValueError("it copies more than it holds")

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop_one(self, _: Any) -> None:
        if self._marks and self._marks[-1] == len(self._stack):
            self._marks.pop()
        else:
            self._pop()

    def _tuple(self, n: int) -> None:
        self._push(tuple(reversed([self._pop() for _ in range(n)])))

    def _extend(self, values: list[Any]) -> None:
        if not isinstance(self._top(object), Inert):
            self._top(list).extend(values)

    def _update(self, values: list[Any]) -> None:
        if isinstance(self._top(object), Inert):
            return
        table = self._top(dict)
        for key, value in zip(values[::2], values[1::2], strict=True):
            _check_key(key)
            table[key] = value

    def _remember(self, number: int) -> None:
        if number > len(self._pickled):
            raise ValueError(f"it refers to object {number}")
        self._memo[number] = self._top(object)

    def _name(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("it names a function by something that is no text")
        self._push(self._find(module, name))

    def _reduce(self, _: Any) -> None:
        given, function = self._pop(), self._pop()
        if isinstance(function, Unknown):
            raise Refused(function.name)
        if not isinstance(function, StandIn) or not isinstance(given, tuple):
            raise ValueError("it calls something that is no function")
        self._copies(sum(len(value) if isinstance(value, (tuple, list)) else 1 for value in given))
        self._push(function.call(*given))

    def _new(self, _: Any) -> None:
        if len(self._stack) > 1 and isinstance(self._stack[-2], Unknown):
            self._pop()
            self._push(Inert(self._pop().name))
        else:
            self._reduce(None)

    def _build(self, _: Any) -> None:
        """Set the attributes of an object; those of anything that is not TorchScript's are dropped."""
        state = self._pop()
        if isinstance(self._top(object), Attributes) and isinstance(state, Mapping):
            self._copies(len(state))
            self._stack[-1].update(state)


def _check_key(key: Any) -> None:
    plain = (
        key is None
        or isinstance(key, (str, bytes, StandIn, Unknown))
        or (isinstance(key, int) and abs(key) < LARGEST_KEY)
    )
    if not plain:
        raise ValueError(f"it has a key of the kind {type(key).__name__}")


def _table(machine: Unpickler) -> None:
    values = machine._pop_mark()
    machine._push({})
    machine._update(values)


ACTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "MARK": lambda machine, _: machine._marks.append(len(machine._stack)),
    "POP": Unpickler._pop_one,
    "POP_MARK": lambda machine, _: machine._pop_mark() and None,
    "DUP": lambda machine, _: machine._push(machine._top(object)),
    "NONE": lambda machine, _: machine._push(None),
    "NEWTRUE": lambda machine, _: machine._push(True),
    "NEWFALSE": lambda machine, _: machine._push(False),
    "EMPTY_LIST": lambda machine, _: machine._push([]),
    "EMPTY_DICT": lambda machine, _: machine._push({}),
    "EMPTY_TUPLE": lambda machine, _: machine._push(()),
    # What is in a set is never used, so it need not be hashed.
    "EMPTY_SET": lambda machine, _: machine._push([]),
    "FROZENSET": lambda machine, _: machine._push(machine._pop_mark()),
    "ADDITEMS": lambda machine, _: machine._extend(machine._pop_mark()),
    "TUPLE": lambda machine, _: machine._push(tuple(machine._pop_mark())),
    "TUPLE1": lambda machine, _: machine._tuple(1),
    "TUPLE2": lambda machine, _: machine._tuple(2),
    "TUPLE3": lambda machine, _: machine._tuple(3),
    "LIST": lambda machine, _: machine._push(machine._pop_mark()),
    "DICT": lambda machine, _: _table(machine),
    "APPEND": lambda machine, _: machine._extend([machine._pop()]),
    "APPENDS": lambda machine, _: machine._extend(machine._pop_mark()),
    "SETITEM": lambda machine, _: machine._update([machine._pop(), machine._pop()][::-1]),
    "SETITEMS": lambda machine, _: machine._update(machine._pop_mark()),
    **{name: Unpickler._remember for name in ("PUT", "BINPUT", "LONG_BINPUT")},
    "MEMOIZE": lambda machine, _: machine._remember(len(machine._memo)),
    **{name: lambda machine, number: machine._push(machine._memo[number]) for name in ("GET", "BINGET", "LONG_BINGET")},
    "GLOBAL": lambda machine, words: machine._name(*words.split(" ", 1)),
    "STACK_GLOBAL": lambda machine, _: machine._name(*[machine._pop(), machine._pop()][::-1]),
    "REDUCE": Unpickler._reduce,
    "NEWOBJ": Unpickler._new,
    "BUILD": Unpickler._build,
    "BINPERSID": lambda machine, _: machine._push(machine._load(machine._pop())),
}
