"""GS Diffusion: restyle a model with diffusion and get a Gaussian splat of it back.

Imports in any Python; only :func:`register`, which Blender calls, needs bpy.
"""

from __future__ import annotations


def register() -> None:
    """Add the properties, operators, panels and menu entries to Blender; a second call renews."""
    from . import ui

    ui.register()


def unregister() -> None:
    """Take everything out again and stop a running job; a no-op when nothing is registered."""
    from . import ui

    ui.unregister()
