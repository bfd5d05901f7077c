"""Progress of work that has several stages; nothing where nobody looks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from jaxclip.files.printable import printable

Stage = Callable[..., None]
"""(stage, done=0, total=None): what is being done and, where it can be counted, how much of it."""


class Share(ProgressColumn):
    """How much is done, where that can be counted."""

    def render(self, task: Task) -> Text:
        return Text("" if task.total is None else f"{task.percentage:.0f}%")


def watched(console: Console) -> bool:
    """Whether somebody looks who can see a line redrawn."""
    return console.is_terminal and not console.is_dumb_terminal


@contextmanager
def stages(title: str) -> Iterator[Stage]:
    """A function of (stage, done, total) that draws a bar a stage on standard error, if that is a terminal.

    A stage without a total shows that it is at work and for how long; it is done when the next one begins.
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), Share(), TimeElapsedColumn())
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=console, disable=not watched(console), transient=True) as progress:

        def update(stage: str, done: int = 0, total: int | None = None) -> None:
            if stage not in tasks:
                for task in progress.tasks:
                    progress.update(task.id, total=task.total or 1, completed=task.total or 1)
                tasks[stage] = progress.add_task(printable(f"{title}: {stage}"), total=total)
            progress.update(tasks[stage], completed=done, total=total)

        yield update
