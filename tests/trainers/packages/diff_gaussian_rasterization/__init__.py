"""A stand-in for graphdeco's CUDA extension; STANDIN_FAULT=no_extension makes it fail as the real
one does when it was built for another torch.
"""

import os

if os.environ.get("STANDIN_FAULT") == "no_extension":
    raise ImportError("libc10_cuda.so: cannot open shared object file: No such file or directory")


class SparseGaussianAdam:
    """Its presence tells the accelerated rasterizer."""
