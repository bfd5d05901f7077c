"""A progress bar for people; nothing where nobody looks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from jaxclip.files.printable import printable
from jaxclip.report.stages import watched


class Speed(ProgressColumn):
    """Images a second, over the last steps."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed:,.1f} images/s")


@contextmanager
def bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A function of (done, total) that draws the bar on standard error; it draws nothing where that is no terminal."""
    console = Console(stderr=True)
    count = TextColumn("{task.completed:,.0f} of {task.total:,.0f}")
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), count, Speed(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not watched(console)) as progress:
        task = progress.add_task(printable(title), total=1)
        began = False

        def update(done: int, total: int) -> None:
            nonlocal began
            if not began:  # what an earlier process did says nothing of this one's speed
                progress.reset(task, total=total, completed=done)
                began = True
            progress.update(task, completed=done, total=total)

        yield update
