"""The worker's environment: pillow, numba, onnxruntime and torch live here. Never imported by
Blender.
"""

# Before anything imports numba: an installed add-on's own folder is no place for compiled kernels.
from .splat import runtime

runtime.prepare()
