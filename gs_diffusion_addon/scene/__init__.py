"""Everything that needs Blender (bpy) but no window: model in, turntable out, splat in."""

# First of all: with the wheel, bpy itself makes addon_utils, mathutils and others importable.
import bpy  # noqa: F401
