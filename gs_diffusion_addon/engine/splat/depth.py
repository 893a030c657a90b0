"""An optional depth term: the splats' depth against the exact one of the render.

Depth is drawn as a color: each splat's color is its camera z, so that the picture is the sum of
w_i z_i, whose gradient the rasterizer already knows. It costs a second drawing, so it is looked at
only in every :data:`EVERY`-th step.
"""

from __future__ import annotations

import torch

from .dataset import Picture
from .harmonics import C0
from .rasterizer import Rasterizer

EVERY = 4  # steps


def depth_loss(
    arguments: tuple[torch.Tensor, ...], picture: Picture, rasterize: Rasterizer
) -> torch.Tensor:
    """Mean over the whole picture of |sum w z - alpha z*|, in local units.

    ``arguments`` are the rasterizer's five; ``picture.depth`` holds z*, not finite where there is
    no surface. Pixels without a surface do not count.
    """
    means, quats, scales, opacities, _ = arguments
    assert picture.depth is not None
    view = picture.view
    forward = torch.from_numpy(view.rotation[2]).to(means)
    z = means @ forward + float(view.translation[2])
    sh = ((z - 0.5) / C0)[:, None, None].expand(-1, 1, 3).contiguous()
    drawn = rasterize(means, quats, scales, opacities, sh, view, torch.zeros(3).to(means))
    depth = torch.from_numpy(picture.depth).to(means)
    known = torch.isfinite(depth)
    wanted = torch.where(known, depth, 0) * drawn.alpha
    error: torch.Tensor = ((drawn.image[0] - wanted).abs() * known).mean()
    return error
