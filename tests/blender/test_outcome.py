"""What follows the end of a job: the splat of a whole run arrives, a stage brings nothing old."""

import json
import sys

import bpy
import pytest

from gs_diffusion_addon.core.lock import locked
from gs_diffusion_addon.ui import panels, running
from gs_diffusion_addon.ui.job import Job
from tests.blender.ui_helpers import drawn, finished_run, stand_in_worker

pytestmark = pytest.mark.usefixtures("registered")


@pytest.mark.parametrize("stage", ["stylize", "propagate", "train", "report"])
def test_a_stage_of_a_finished_run_does_not_bring_its_old_splat(tmp_path, monkeypatch, stage):
    run = finished_run(tmp_path / "runs")
    check = f"import sys\nassert '--until={stage}' in sys.argv and '--redo' in sys.argv"
    stand_in_worker(tmp_path, monkeypatch, check)
    assert bpy.ops.gs_diffusion.run_stage(stage=stage) == {"FINISHED"}
    assert not bpy.context.scene.objects
    job = running.current
    for _ in running.finish_run(job) or ():  # what the window does at the end
        continue
    assert not bpy.context.scene.objects and job.message == f"Done up to this stage: {run}"
    assert bpy.ops.gs_diffusion.run_stage.poll()
    again = "import sys\nassert '--until=import' in sys.argv, sys.argv"
    stand_in_worker(tmp_path, monkeypatch, again)
    assert bpy.ops.gs_diffusion.resume_run(folder=str(run)) == {"FINISHED"}
    assert "splat_iter1" in bpy.context.scene.objects


@pytest.mark.parametrize(
    ("last", "until", "comes"),
    [
        ("2/import", "import", True),
        ("2/report", "import", True),
        ("2/report", "report", False),
        ("2/train", "train", False),
        ("2/import", None, True),
        ("2/report", None, True),
        ("1/train", None, False),
    ],
)
def test_a_run_that_another_started_says_how_far_it_goes(tmp_path, last, until, comes):
    """A main folder's run has no import; its last stage is the report. Who asked for a scene's run
    up to the report wants no splat. Runs of an earlier version do not say what was asked.
    """
    run = finished_run(tmp_path / "runs")
    asked = {"until": until} if until else {}
    started = {"event": "run_started", "stages": ["0/turntable", last], **asked}
    events = [started, {"event": "run_finished"}]
    with locked(run):
        (run / "events.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events))
        job = running.adopt(bpy.context.scene, run)
    assert job.wait() == 0
    for _ in running.finish_run(job) or ():
        continue
    assert ("splat_iter1" in bpy.context.scene.objects) == comes, job.message
    assert job.message.startswith("Done: " if comes else "Done up to this stage: ")


def test_only_a_run_can_be_resumed(tmp_path, monkeypatch):
    finished_run(tmp_path / "runs")
    stand_in_worker(tmp_path, monkeypatch, "import sys\nprint('gsd: No room.')\nsys.exit(4)")
    with pytest.raises(RuntimeError, match="No room"):
        bpy.ops.gs_diffusion.convert_splat(ending=".spz")
    shown = drawn(panels.GS_DIFFUSION_PT_main)
    assert "No room." in shown and "Resume" not in shown
    with pytest.raises(RuntimeError, match="No room"):
        bpy.ops.gs_diffusion.run_stage(stage="train")
    assert "Resume" in drawn(panels.GS_DIFFUSION_PT_main)
    tool = Job([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path)
    tool.start()
    tool.cancel()
    tool.wait()
    assert tool.outcome == "Stopped."
