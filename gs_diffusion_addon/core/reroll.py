"""``reroll``: one keyframe of a run restyled anew, with another seed, in the place of the old one.

The old picture goes to superseded/. What is made of the keyframes is stale afterwards, so the next
``run --redo`` makes it again.
"""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

from .errors import InputError, error_for_exit_code
from .interpreters import worker_command
from .keyframes import planned
from .lock import locked
from .pipeline import Sink
from .process import child_environment, run_child
from .run import Run, read_manifest, replace_file, run_settings
from .stages import stage_settings


def run(root: Path, key: int, iteration: int, seed: int, sink: Sink, stop: threading.Event) -> Path:
    """Restyle keyframe ``key`` of an iteration with ``seed``; returns its path.

    Raises InputError if the run has no such keyframe, and what the stylizer raises; the old picture
    stays then.
    """
    settings = run_settings(read_manifest(root))
    folder = Run(root, iteration)
    if key not in planned(folder, settings) or not folder.key(key).is_file():
        raise InputError(f"{root} has no restyled keyframe {key} in iteration {iteration}.")
    with locked(root):
        fresh = root / "reroll.png"
        command = [*worker_command(settings), "reroll", "--out", str(root), "--part", "0"]
        command += ["--key", str(key), "--iteration", str(iteration), "--seed", str(seed)]
        log = folder.logs / f"{iteration}-reroll.log"
        ended = run_child(
            command, log=log, on_event=sink, stop=stop, env=child_environment(settings.threads)
        )
        if ended.code != 0:
            crash = f"Keyframe {key} could not be restyled (code {ended.code}); see {log}."
            raise error_for_exit_code(ended.code, ended.message or crash)
        old = root / "superseded" / time.strftime("%Y%m%d-%H%M%S") / folder.key(key).name
        old.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(folder.key(key), old)  # a copy: at no moment is there no keyframe
        replace_file(fresh, folder.key(key))
    return folder.key(key)


def run_part(root: Path, key: int, iteration: int, seed: int) -> None:
    """The worker's part: write reroll.png into the run folder."""
    import importlib

    from .events import child_emitter

    package = __package__.rpartition(".")[0]
    module = importlib.import_module(f"{package}.engine.stylize.reroll")
    settings = stage_settings("stylize", iteration, run_settings(read_manifest(root)))
    emit = child_emitter("stylize", iteration)
    module.reroll(Run(root, iteration), settings, key, seed, root / "reroll.png", emit)
