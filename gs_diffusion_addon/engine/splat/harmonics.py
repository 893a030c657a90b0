"""Real spherical harmonics of degree 0-3 in the order and signs of the 3DGS field.

Source: Sloan, "Efficient Spherical Harmonic Evaluation" (JCGT 2013), with the signs of Kerbl et
al.'s files (f_dc, f_rest). A color is 0.5 + sum of basis * coefficient.
"""

from __future__ import annotations

from .blocks import get, put
from .jit import ZERO, kernel

C0 = 0.28209479177387814  # sqrt(1 / (4 pi))
C1 = 0.4886025119029199  # sqrt(3 / (4 pi))
C2 = 1.0925484305920792  # sqrt(15 / (4 pi))
C2_Z = 0.31539156525252005  # sqrt(5 / (16 pi))
C2_XY = 0.5462742152960396  # sqrt(15 / (16 pi))
C3_A = 0.5900435899266435  # sqrt(35 / (32 pi))
C3_B = 2.890611442640554  # sqrt(105 / (4 pi))
C3_C = 0.4570457994644658  # sqrt(21 / (32 pi))
C3_D = 0.3731763325901154  # sqrt(7 / (16 pi))
C3_E = 1.445305721320277  # sqrt(105 / (16 pi))


@kernel
def basis(x, y, z, degree, out):  # type: ignore[no-untyped-def]
    """The (degree + 1)^2 basis values of 16 unit directions (vectors x, y, z) into rows of 16 of
    ``out``.
    """
    put(out, 0, x * ZERO + C0)
    if degree >= 1:
        put(out, 1, y * -C1)
        put(out, 2, z * C1)
        put(out, 3, x * -C1)
    xx, yy, zz = x * x, y * y, z * z
    if degree >= 2:
        put(out, 4, x * y * C2)
        put(out, 5, y * z * -C2)
        put(out, 6, (zz * 2.0 - xx - yy) * C2_Z)
        put(out, 7, x * z * -C2)
        put(out, 8, (xx - yy) * C2_XY)
    if degree >= 3:
        put(out, 9, y * (xx * 3.0 - yy) * -C3_A)
        put(out, 10, x * y * z * C3_B)
        put(out, 11, y * (zz * 4.0 - xx - yy) * -C3_C)
        put(out, 12, z * (zz * 2.0 - xx * 3.0 - yy * 3.0) * C3_D)
        put(out, 13, x * (zz * 4.0 - xx - yy) * -C3_C)
        put(out, 14, z * (xx - yy) * C3_E)
        put(out, 15, x * (xx - yy * 3.0) * -C3_A)


@kernel
def basis_backward(x, y, z, degree, by, out):  # type: ignore[no-untyped-def]
    """Gradients by the values of :func:`basis`, rows of ``by`` -> by x, y, z as free variables,
    three rows of ``out``.
    """
    by_x = by_y = by_z = x * ZERO
    if degree >= 1:
        by_x, by_y, by_z = get(by, 3) * -C1, get(by, 1) * -C1, get(by, 2) * C1
    if degree >= 2:
        b, middle, side = get(by, 4) * C2, get(by, 6) * (2.0 * C2_Z), get(by, 8) * (2.0 * C2_XY)
        yz, xz = get(by, 5) * C2, get(by, 7) * C2
        by_x = by_x + y * b - z * xz - x * middle + x * side
        by_y = by_y + x * b - z * yz - y * middle - y * side
        by_z = by_z + z * middle * 2.0 - y * yz - x * xz
    if degree >= 3:
        xx, yy, zz, xy = x * x, y * y, z * z, x * y
        a, b, c, d = get(by, 9) * C3_A, get(by, 10) * C3_B, get(by, 11) * C3_C, get(by, 12) * C3_D
        e, f, g = get(by, 13) * C3_C, get(by, 14) * C3_E, get(by, 15) * C3_A
        straight, turned = (xx - yy) * 3.0, xy * 6.0
        by_x = by_x - turned * a + y * z * b + xy * c * 2.0 - x * z * d * 6.0
        by_x = by_x - (zz * 4.0 - xx * 3.0 - yy) * e + x * z * f * 2.0 - straight * g
        by_y = by_y - straight * a + x * z * b - (zz * 4.0 - xx - yy * 3.0) * c - y * z * d * 6.0
        by_y = by_y + xy * e * 2.0 - y * z * f * 2.0 + turned * g
        by_z = by_z + xy * b - y * z * c * 8.0 + (zz * 2.0 - xx - yy) * d * 3.0
        by_z = by_z - x * z * e * 8.0 + (xx - yy) * f
    put(out, 0, by_x)
    put(out, 1, by_y)
    put(out, 2, by_z)
