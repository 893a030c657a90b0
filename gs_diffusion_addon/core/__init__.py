"""Plain Python and numpy: settings, the run folder, processes, geometry and file formats.

Nothing here imports bpy or a heavy package, so it works in Blender, in the worker's environment and
in any other Python.
"""
