"""``python repository.py URL``: add the repository at URL to Blender and install from it."""

from __future__ import annotations

import os
import sys

import bpy

bpy.context.preferences.system.use_online_access = True
bpy.ops.preferences.extension_repo_add(name="GS Diffusion", remote_url=sys.argv[1], type="REMOTE")
repositories = bpy.context.preferences.extensions.repos
index = next(k for k, r in enumerate(repositories) if r.remote_url == sys.argv[1])
bpy.ops.extensions.repo_sync(repo_index=index)
bpy.ops.extensions.package_install(repo_index=index, pkg_id="gs_diffusion_addon")
for name in bpy.context.preferences.addons.keys():  # noqa: SIM118 — no dictionary, Blender's own
    if name.endswith(".gs_diffusion_addon"):
        assert "run_iteration" in dir(bpy.ops.gs_diffusion)
        print("INSTALLED", name)
        bpy.ops.preferences.addon_disable(module=name)
sys.stdout.flush()
os._exit(0)
