"""core/ply.py against gsply, an independent reader of splat files."""

import numpy as np
import pytest

from gs_diffusion_addon.core.ply import Splats, write_splats

gsply = pytest.importorskip("gsply")


@pytest.mark.parametrize("degree", range(4))
def test_gsply_reads_our_splats(tmp_path, degree):
    rng, k = np.random.default_rng(degree), (degree + 1) ** 2
    shapes = ((41, 3), (41, k, 3), (41,), (41, 3), (41, 4))
    splats = Splats(*(rng.normal(size=shape).astype(np.float32) for shape in shapes))
    write_splats(tmp_path / "a.ply", splats)
    read = gsply.plyread(str(tmp_path / "a.ply"))
    np.testing.assert_array_equal(read.means, splats.means)
    np.testing.assert_array_equal(read.scales, splats.scales)
    np.testing.assert_array_equal(read.quats, splats.quats)
    np.testing.assert_array_equal(np.ravel(read.opacities), splats.opacities)
    np.testing.assert_array_equal(read.sh0, splats.sh[:, 0])
    if degree:
        np.testing.assert_array_equal(read.shN, splats.sh[:, 1:])
