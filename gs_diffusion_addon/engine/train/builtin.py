"""The built-in trainer: numba kernels on the processor, plain torch where they cannot be
compiled.
"""

from __future__ import annotations

from ...core.events import Emit
from ...core.ply import Splats
from ...core.run import Run
from ...core.settings import Settings
from ..splat.backends import processor
from ..splat.runtime import use_threads
from .session import train_run


def train(run: Run, settings: Settings, emit: Emit) -> Splats:
    """Train on the processor; see :func:`.session.train_run`."""
    use_threads(settings.threads)
    emit("phase", message="Compiling the kernels")
    backend, sentence = processor()
    if sentence:
        emit("warning", message=sentence)
    return train_run(run, settings, emit, backend)
