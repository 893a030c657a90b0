"""A machine without a worker: the check, preferences, the environment; played by driver.py."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import bpy

driver: Any = globals()["driver"]


def _preferences() -> Iterator[float]:
    """Our page of the preferences, in the whole place of the viewport."""
    window, area, _ = driver.viewport()
    area.ui_type = "PREFERENCES"
    yield 0.5
    with bpy.context.temp_override(window=window, area=area):
        bpy.context.preferences.active_section = "ADDONS"
        bpy.context.window_manager.addon_search = "GS Diffusion"
        bpy.ops.preferences.addon_expand(module=driver.ADDON)
    yield 1.0
    region = next(r for r in area.regions if r.type == "WINDOW")
    with bpy.context.temp_override(window=window, area=area, region=region):
        for _ in range(3):  # past what Blender says of every add-on
            bpy.ops.view2d.scroll_down(deltay=100)
    yield 0.5


def preferences() -> Iterator[float]:
    """The preferences show a line for each thing that the check finds."""
    area = driver.viewport()[1]
    yield from _preferences()
    bpy.ops.gs_diffusion.check()
    findings = driver.ui("findings")
    environment = driver.ui("environment")
    yield from driver.wait_for(lambda: not environment.busy(environment.check_job), 240)
    yield 2.0
    driver.shoot("preferences")
    assert [item for item in findings.lines if item["name"] == "Torch" and item["ok"]]
    area.ui_type = "VIEW_3D"
    driver.open_panels("train")
    yield from driver.show_tab()
    yield 1.0
    driver.shoot("marked", 900)


def first_use() -> Iterator[float]:
    """Where no worker's environment is, the panel finds that out by itself and offers to make one;
    without a network it says so, and offers it again.
    """
    os.environ.pop("GSD_WORKER_PYTHON", None)
    os.environ["GSD_ENVIRONMENT"] = str(driver.OUT / "no worker")
    nowhere = "http://127.0.0.1:9"
    os.environ |= {"PIP_INDEX_URL": nowhere, "PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "1"}
    os.environ |= {"HTTPS_PROXY": nowhere, "PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": ""}
    driver.ui("findings").forget()
    bpy.context.preferences.system.use_online_access = True
    yield from driver.show_tab()
    driver.measure_ours()
    environment, findings = driver.ui("environment"), driver.ui("findings")
    yield from driver.wait_for(lambda: findings.lines, 240)
    yield 2.0
    driver.shoot("create", 560)
    assert environment._is_missing(), findings.lines
    driver.in_viewport(bpy.ops.gs_diffusion.environment, action="create")
    job = environment.environment_job
    yield from driver.wait_for(lambda: job.detail or job.code is not None, 240)
    yield 1.0
    driver.shoot("creating", 560)
    yield from driver.wait_for(lambda: job.code is not None, 400)
    yield 2.0
    driver.shoot("create_failed", 560)
    assert "check the network" in job.message, (job.message, list(job.log))


def make_environment() -> Iterator[float]:
    """Create makes the worker's environment for real, in the folder GSD_ENVIRONMENT; slow and
    large.
    """
    yield from _preferences()
    bpy.context.preferences.system.use_online_access = True
    environment = driver.ui("environment")
    yield 1.0
    bpy.ops.gs_diffusion.environment("INVOKE_DEFAULT", action="create")
    job = environment.environment_job
    yield from driver.wait_for(lambda: "torch" in job.detail.lower() or job.code is not None, 120)
    yield 1.0
    driver.shoot("making")
    yield from driver.wait_for(lambda: job.code is not None, 900)
    yield 1.0
    driver.shoot("made")
    print("ENVIRONMENT", job.outcome, list(job.log)[-8:], flush=True)
    assert job.succeeded, job.outcome


def create_and_run() -> Iterator[float]:
    """The whole way of a new machine: the panel offers Create, which is pressed and makes the
    environment for real in the folder GSD_ENVIRONMENT, then a run with it; slow and large.
    """
    os.environ.pop("GSD_WORKER_PYTHON", None)
    bpy.context.preferences.system.use_online_access = True
    environment, findings = driver.ui("environment"), driver.ui("findings")
    findings.forget()
    yield from driver.show_tab()
    driver.measure_ours()
    yield from driver.wait_for(lambda: findings.lines, 240)
    assert environment._is_missing(), findings.lines
    driver.in_viewport(bpy.ops.gs_diffusion.environment, action="create")
    job = environment.environment_job
    yield from driver.wait_for(lambda: job.code is not None, 1800)
    assert job.succeeded, job.outcome
    yield from driver.wait_for(lambda: findings.lines, 240)
    yield 1.0
    driver.shoot("created", 560)
    assert not environment._is_missing(), findings.lines
    driver.make_scene()
    driver.in_viewport(bpy.ops.gs_diffusion.run_iteration)
    yield 0.5
    yield from driver.until_over()
    driver.shoot("created_window")
    assert "splat_iter1" in bpy.data.objects, driver.job().outcome
    assert bpy.context.view_layer.objects.active.name == "splat_iter1"
