"""The progress bar of feature extraction."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def counting(what: str, total: int | None, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """A bar on standard error with images done, images a second and time left.

    Args:
        what: what is being made.
        total: images there are, if that is known.
        shown: False shows nothing.

    Yields:
        A function to call with the number of images done since the last call.
    """
    if not shown:
        yield lambda _: None
        return
    from rich import progress
    from rich.console import Console

    bar = progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(bar_width=24),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[rate]}"),
        progress.TimeRemainingColumn(elapsed_when_finished=True),
        console=Console(stderr=True, force_jupyter=False),  # there it would need ipywidgets
    )
    with bar:
        task = bar.add_task(what, total=total, rate="")

        def advance(images: int) -> None:
            bar.update(task, advance=images)
            speed = bar.tasks[0].finished_speed or bar.tasks[0].speed
            bar.update(task, rate=f"{speed:.0f} images/s" if speed else "")

        yield advance
