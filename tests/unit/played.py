"""Runs of the real supervisor whose stages are played: each writes small files that depend on the
files and settings that the real one reads, and nothing else.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from gs_diffusion_addon.core import made, pipeline, stages, stale
from gs_diffusion_addon.core.digests import digest
from gs_diffusion_addon.core.run import Run, write_text
from gs_diffusion_addon.core.settings import Settings

RESULTS = {
    "turntable": ("train_main/r_0.png", "train_main/r_1.png", "guides/r_0.exr",
                  "transforms_train_main.json", "iter0.mp4"),
    "stylize": ("iter{}/input/input0.png", "iter{}/output/0.png", "iter{}/keys/keys00000.png"),
    "propagate": ("iter{}/stylized/r_0.png", "iter{}/propagation.json"),
    "dataset": ("iter{}/gs/train/r_0.png", "iter{}/gs/transforms_train.json",
                "iter{}/gs/points3d.ply"),
    "train": ("iter{}/gs/model/point_cloud/iteration_9/point_cloud.ply",),
    "render": ("iter{}/renders/00000.png", "splat_iter{}.ply", "iter{}.mp4"),
    "report": ("iter{}/metrics.json", "report.html"),
    "import": ("result.blend",),
}  # fmt: skip


class Play:
    """One run folder; ``did`` lists what the last call did, ``events`` what it said, ``fixed`` has
    what a stage writes whatever it reads.
    """

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.did: list[str] = []
        self.events: list[dict] = []
        self.fixed: dict[str, str] = {}
        patch = monkeypatch.setattr
        patch(pipeline.Supervisor, "_part", self._part)
        patch(pipeline, "worker_python", lambda settings: Path("python"))
        patch(pipeline, "versions_of", lambda python: {})
        patch(pipeline.preflight, "require_startable", lambda settings: None)
        patch(pipeline.preflight, "problems", lambda *a: [])
        patch(pipeline.preflight, "require_space", lambda *a: None)
        patch(made, "whole", Path.is_file)  # the played files are text

    def run(self, *, redo: bool = False, until: str = "import", start: int = 0, **changes) -> None:
        """Make or continue the run."""
        self.did, self.events = [], []
        supervisor = pipeline.Supervisor(self.root, self.events.append, redo=redo)
        supervisor.run(changes, until, start)

    def said(self, event: str) -> list[str]:
        """The messages of one kind of event."""
        return [e["message"] for e in self.events if e["event"] == event]

    def _part(self, settings: Settings, run: Run, name: str, number: int) -> None:
        if number:
            return
        self.did.append(stages.record_name(name, run.iteration))
        given = stages.stage_settings(name, run.iteration, settings)
        values = stale.settings_of(name, run.iteration, settings)
        stage = stages.BY_NAME[name]
        seen = [p for p in (*stage.inputs(run, given), *stage.sources(given)) if p.exists()]
        text = digest([str(sorted(values.items())), *(content(p) for p in seen)])
        text = self.fixed.get(name, text)
        if name == "stylize" and settings.compare_independent == "yes":
            self._write(run.independent / "r_0.png", text)
        for result in RESULTS[name]:
            path = self.root / result.format(run.iteration)
            if result.endswith("metrics.json"):
                text = "{}"
            self._write(path, text)

    def _write(self, path: Path, text: str) -> None:
        if not path.exists() or path.name == "report.html":
            write_text(path, text)


def content(path: Path) -> str:
    """All that is in a file or folder."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    return digest(p.read_bytes() for p in files)
