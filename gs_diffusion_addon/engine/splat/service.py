"""What a user may ask of a running training: wait, go on, show what there is.

Requests are files beside the checkpoint (``gsd splat pause|resume|preview --out DIR`` makes
them), so that every door can make them and a killed training leaves nothing to clean up.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from ...core.ply import Splats, write_splats

PAUSE, PREVIEW, PREVIEW_FILE = "pause", "preview", "preview.ply"
_LOOK_SECONDS = 0.25


class Service:
    """Looks for requests in ``folder`` (None: there are none) at most four times a second."""

    def __init__(self, folder: Path | None, tell: Callable[[str], None]) -> None:
        self._folder, self._tell = folder, tell
        self._looked = 0.0
        self.paused_seconds = 0.0
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            # A training that was killed while it waited is started again to go on.
            (folder / PAUSE).unlink(missing_ok=True)

    def attend(self, model: Callable[[], Splats], save: Callable[[], None]) -> None:
        """Do what is asked: ``model`` gives the splats so far in Blender's world, ``save`` writes
        the checkpoint. Returns when the training may take its next step.
        """
        start = time.monotonic()
        if self._folder is None or start - self._looked < _LOOK_SECONDS:
            return
        self._looked = start
        pause = self._folder / PAUSE
        self._preview(model)
        if not pause.exists():
            return
        save()
        self._tell("The training is paused; 'gsd splat resume' lets it go on.")
        while pause.exists():
            self._preview(model)
            time.sleep(0.1)
        self.paused_seconds += time.monotonic() - start

    def _preview(self, model: Callable[[], Splats]) -> None:
        assert self._folder is not None
        request = self._folder / PREVIEW
        if request.exists():
            write_splats(self._folder / PREVIEW_FILE, model())
            request.unlink(missing_ok=True)
