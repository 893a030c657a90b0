"""Sets the Pillow version that the stand-in's environment has (STANDIN_PILLOW)."""

import os

import PIL.Image  # compares its version with its C part's when it is imported

PIL.__version__ = os.environ.get("STANDIN_PILLOW", "10.4.0")
