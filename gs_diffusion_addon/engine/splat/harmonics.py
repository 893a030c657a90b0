"""Real spherical harmonics of degree 0-3 in the order and signs of the 3DGS field.

Source: Sloan, "Efficient Spherical Harmonic Evaluation" (JCGT 2013), with the signs of Kerbl et
al.'s files (f_dc, f_rest). A color is 0.5 + sum of basis * coefficient.
"""

from __future__ import annotations

from .jit import inlined

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


@inlined
def basis(x, y, z, degree, out):  # type: ignore[no-untyped-def]
    """The (degree + 1)^2 basis values of the unit direction x, y, z into ``out`` (16,)."""
    out[0] = C0
    if degree < 1:
        return
    out[1] = -C1 * y
    out[2] = C1 * z
    out[3] = -C1 * x
    if degree < 2:
        return
    xx, yy, zz = x * x, y * y, z * z
    out[4] = C2 * x * y
    out[5] = -C2 * y * z
    out[6] = C2_Z * (2.0 * zz - xx - yy)
    out[7] = -C2 * x * z
    out[8] = C2_XY * (xx - yy)
    if degree < 3:
        return
    out[9] = -C3_A * y * (3.0 * xx - yy)
    out[10] = C3_B * x * y * z
    out[11] = -C3_C * y * (4.0 * zz - xx - yy)
    out[12] = C3_D * z * (2.0 * zz - 3.0 * xx - 3.0 * yy)
    out[13] = -C3_C * x * (4.0 * zz - xx - yy)
    out[14] = C3_E * z * (xx - yy)
    out[15] = -C3_A * x * (xx - 3.0 * yy)


@inlined
def basis_gradient(x, y, z, degree, out):  # type: ignore[no-untyped-def]
    """Derivatives of :func:`basis` by x, y, z (as free variables) into ``out`` (16, 3)."""
    _set(out, 0, 0.0, 0.0, 0.0)
    if degree < 1:
        return
    _set(out, 1, 0.0, -C1, 0.0)
    _set(out, 2, 0.0, 0.0, C1)
    _set(out, 3, -C1, 0.0, 0.0)
    if degree < 2:
        return
    _set(out, 4, C2 * y, C2 * x, 0.0)
    _set(out, 5, 0.0, -C2 * z, -C2 * y)
    _set(out, 6, -2.0 * C2_Z * x, -2.0 * C2_Z * y, 4.0 * C2_Z * z)
    _set(out, 7, -C2 * z, 0.0, -C2 * x)
    _set(out, 8, 2.0 * C2_XY * x, -2.0 * C2_XY * y, 0.0)
    if degree < 3:
        return
    xx, yy, zz = x * x, y * y, z * z
    _set(out, 9, -6.0 * C3_A * x * y, -3.0 * C3_A * (xx - yy), 0.0)
    _set(out, 10, C3_B * y * z, C3_B * x * z, C3_B * x * y)
    _set(out, 11, 2.0 * C3_C * x * y, -C3_C * (4.0 * zz - xx - 3.0 * yy), -8.0 * C3_C * y * z)
    _set(out, 12, -6.0 * C3_D * x * z, -6.0 * C3_D * y * z, C3_D * (6.0 * zz - 3.0 * xx - 3.0 * yy))
    _set(out, 13, -C3_C * (4.0 * zz - 3.0 * xx - yy), 2.0 * C3_C * x * y, -8.0 * C3_C * x * z)
    _set(out, 14, 2.0 * C3_E * x * z, -2.0 * C3_E * y * z, C3_E * (xx - yy))
    _set(out, 15, -3.0 * C3_A * (xx - yy), 6.0 * C3_A * x * y, 0.0)


@inlined
def _set(out, row, x, y, z):  # type: ignore[no-untyped-def]
    out[row, 0] = x
    out[row, 1] = y
    out[row, 2] = z
