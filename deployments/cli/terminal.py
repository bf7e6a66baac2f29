"""What the commands print, and how they end: progress and errors go to stderr, results to stdout."""

import contextlib
import time
from collections.abc import Callable

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from typer.core import TyperGroup

from model_core.errors import DalleServeError

FAILED, WRONG, BUSY, INTERRUPTED = 1, 2, 3, 130  # exit statuses; typer has 2 for wrong arguments as well

errors = Console(stderr=True, highlight=False)
results = Console(highlight=False)


class ExplainingGroup(TyperGroup):
    """Commands whose errors, raised on purpose, become one line and an exit status; Ctrl-C becomes 130."""

    def invoke(self, ctx):
        """Runs the command that was asked for."""
        try:
            return super().invoke(ctx)
        except DalleServeError as error:
            explain(error)
            raise typer.Exit(BUSY if getattr(error, "is_temporary", False) else FAILED) from error
        except KeyboardInterrupt:
            raise typer.Exit(INTERRUPTED) from None


def explain(error: DalleServeError) -> None:
    """Prints an error as one line."""
    errors.print("[red]Error:[/]", escape(str(error)), soft_wrap=True)


def warn(words: str) -> None:
    """Prints a warning as one line."""
    tell("[yellow]Warning:[/]", escape(words))


def tell(*words: str) -> None:
    """Prints a line of progress; nothing where the terminal has been closed meanwhile, which is no reason to fail."""
    with contextlib.suppress(OSError):
        errors.print(*words, soft_wrap=True)


def steps() -> Callable[[str], None]:
    """Prints a line for every step, with the seconds since this was called."""
    began = time.monotonic()
    return lambda line: tell(f"[dim]{time.monotonic() - began:6.1f} s[/]  {escape(line)}")


class DrawingBar:
    """A bar of the codes drawn, to be used in a `with` block; gone at its end, and absent where nobody looks."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal)
        self._task = self._progress.add_task("loading", total=None)

    def __enter__(self) -> "DrawingBar":
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def drawn(self, num_codes: float, total: float) -> None:
        """Shows so many codes of all."""
        words = "drawing" if num_codes < total else "ranking"
        self._progress.update(self._task, description=words, completed=num_codes, total=total)

    def fetched(self, num_bytes: int, total: int) -> None:
        """Shows so many bytes of all."""
        self._progress.update(self._task, description="downloading", completed=num_bytes, total=total or None)

    def say(self, words: str) -> None:
        """Shows what goes on in place of drawing."""
        self._progress.update(self._task, description=words, completed=0, total=None)
