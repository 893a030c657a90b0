"""What is decided between iterations: whether to go on, and what a changed setting spoils."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import stages, stale
from .errors import InputError
from .run import Run, read_json
from .settings import Settings


def stopped(root: Path, settings: Settings, iteration: int) -> str | None:
    """Why the loop ends after ``iteration``, in a sentence; None if it goes on.

    It ends when the iteration changed the splat's pictures by less than ``stop_below`` (the mean
    difference that its metrics.json holds, 0 to 1).
    """
    path = Run(root, iteration).metrics
    if settings.stop_below <= 0 or iteration < 2 or not path.is_file():
        return None
    change = change_of(read_json(path))
    if change is None or change >= settings.stop_below:
        return None
    return (
        f"Iteration {iteration} changed the splat's pictures by {change:.4f} on average, less than "
        f"--stop-below {settings.stop_below:g}: the loop ends here."
    )


def change_of(metrics: Mapping[str, Any]) -> float | None:
    """The mean change from the previous iteration that metrics.json holds."""
    value = (metrics.get("change") or {}).get("mean")
    return None if value is None else float(value)


def last_iteration(root: Path, settings: Settings) -> int:
    """The iteration after which the loop ends, by settings or by what its metrics say."""
    for iteration in range(2, settings.iterations):
        if stopped(root, settings, iteration):
            return iteration
    return settings.iterations


def plan(root: Path, settings: Settings) -> list[tuple[str, int]]:
    """:func:`.stages.plan` up to where the loop ends."""
    return stages.plan(last_iteration(root, settings), not settings.main_folder)


def todo(settings: Settings, until: str, start: int = 0) -> list[tuple[str, int]]:
    """The stages of :func:`.stages.plan` up to ``until``, after iteration ``start``.

    Only the last iteration ends with ``until``, since each one begins with the renders of the one
    before; the turntable comes before all.
    """
    last = stages.NAMES.index(until)
    plan = stages.plan(settings.iterations, not settings.main_folder)
    return [
        (name, k)
        for name, k in plan[: 1 if until == "turntable" else None]
        if (k > start or start == 0)
        and (k < settings.iterations or stages.NAMES.index(name) <= last)
    ]


def require_start(root: Path, settings: Settings, start: int) -> None:
    """Refuse to begin after an iteration whose results are missing; raises InputError."""
    if start == 0:
        return
    if start >= settings.iterations:
        raise InputError(
            f"--start {start} leaves nothing to do: the last iteration is {settings.iterations}; "
            f"give --end {start + 1} or more."
        )
    run = Run(root, start)
    if not run.splat.is_file() or not run.renders.is_dir():
        raise InputError(
            f"--start {start} needs the results of iteration {start}, and {run.splat.name} or "
            f"iter{start}/renders is not in {root}; begin earlier."
        )


def changed_stages(records: Iterable[str], name: str, old: Settings, new: Settings) -> list[str]:
    """The recorded stages (``2/stylize``) whose result depends on a change of setting ``name``.

    What the setting does in each one's iteration counts: a schedule that changes nothing in the
    iterations done so far spoils none, nor does what is not in use.
    """
    after = replace(old, **{name: getattr(new, name)})
    hit = []
    for record in records:
        number, _, stage = record.partition("/")
        if stage not in stages.NAMES or not number.isdecimal():
            continue
        before, then = (stale.settings_digest(stage, int(number), s) for s in (old, after))
        if before != then:
            hit.append(stage)
    return hit
