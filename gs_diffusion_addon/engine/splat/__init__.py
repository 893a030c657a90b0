"""The built-in trainer: splatting kernels, rasterizers, loss and training recipe.

``rasterizer.rasterize`` draws splats on the processor and is differentiable; ``reference`` is
the same in plain torch, slow and readable; ``gsplat_backend`` the same on CUDA.
``training.train`` turns posed pictures into splats.
"""

from . import runtime

runtime.prepare()
