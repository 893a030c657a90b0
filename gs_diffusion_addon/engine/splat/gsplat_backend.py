"""gsplat's CUDA rasterizer behind the signature of :func:`.rasterizer.rasterize`.

Written from gsplat 1.5.3's documentation. Its CUDA kernels have NOT been run by the authors of
this file, who had no NVIDIA GPU: the adapter is held by a convention test against a plain torch
stand-in of identical signature, and :func:`problem` makes one tiny drawing with gradients before
anything relies on it.
"""

from __future__ import annotations

from typing import Any

import torch

from .rasterizer import Rendering, Screen, View, degree_of


def problem() -> str | None:
    """Why gsplat cannot be used here, as a sentence; None if a tiny drawing works."""
    if not torch.cuda.is_available():
        return "gsplat needs an NVIDIA GPU with CUDA, and torch finds none."
    try:
        import gsplat  # noqa: F401
    except ImportError as error:
        return f"gsplat is not installed in the worker's environment ({error})."
    try:
        _probe()
    except (RuntimeError, OSError, ImportError, AttributeError, TypeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return f"gsplat is installed but cannot draw: {reason}."
    return None


def _probe() -> None:
    """One splat on 16 x 16 pixels, forward and backward; checks that it is seen."""
    view = View(16, 16, 16.0, 16.0, 8.0, 8.0, torch.eye(3).numpy(), torch.zeros(3).numpy(), 0.1)
    means = torch.tensor([[0.0, 0.0, 2.0]], device="cuda", requires_grad=True)
    rendering = rasterize(
        means,
        torch.tensor([[1.0, 0.0, 0.0, 0.0]], device="cuda"),
        torch.full((1, 3), -1.5, device="cuda"),
        torch.zeros(1, device="cuda"),
        torch.zeros((1, 1, 3), device="cuda"),
        view,
        torch.zeros(3, device="cuda"),
    )
    rendering.image.sum().backward()
    if not float(rendering.alpha.detach().max()) > 0.1 or means.grad is None:
        raise RuntimeError("its test drawing stayed empty")


class _LateScreen(Screen):
    """gsplat leaves the screen gradients on ``meta['means2d']``, which may be packed."""

    def __init__(self, meta: dict[str, Any]) -> None:
        self.meta = meta
        radii = meta["radii"][0]
        drawn = radii > 0 if radii.ndim == 1 else (radii > 0).all(-1)
        self.drawn = drawn.cpu().numpy()

    @property
    def gradients(self) -> Any:  # type: ignore[override]
        """(N,) lengths of the gradients by pixel position."""
        return self.meta["means2d"].grad[0].norm(dim=-1).cpu().numpy()


def rasterize(
    means: torch.Tensor,
    quats: torch.Tensor,
    scales: torch.Tensor,
    opacities: torch.Tensor,
    sh: torch.Tensor,
    view: View,
    background: torch.Tensor,
) -> Rendering:
    """As :func:`.rasterizer.rasterize`; all tensors on the GPU."""
    import gsplat

    pose = torch.eye(4)
    pose[:3, :3] = torch.as_tensor(view.rotation)
    pose[:3, 3] = torch.as_tensor(view.translation)
    lens = torch.tensor([[view.fl_x, 0, view.cx], [0, view.fl_y, view.cy], [0, 0, 1]])
    colors, alphas, meta = gsplat.rasterization(
        means=means,
        quats=quats,
        scales=torch.exp(scales),
        opacities=torch.sigmoid(opacities),
        colors=sh,
        viewmats=pose[None].to(means),
        Ks=lens[None].to(means),
        width=view.width,
        height=view.height,
        near_plane=view.near,
        sh_degree=degree_of(sh),
        packed=False,
        backgrounds=background[None],
        render_mode="RGB",
    )
    if meta["means2d"].requires_grad:
        meta["means2d"].retain_grad()
    return Rendering(colors[0].permute(2, 0, 1), alphas[0, ..., 0], _LateScreen(meta))
