"""The worker's environment: pillow, numba, onnxruntime and torch live here. Never imported by
Blender.
"""
