"""Adam (Kingma and Ba 2015) as a kernel: all threads, and a rate for each column of a parameter.

torch's fused Adam runs on one thread here (its pool would fight with ours) and knows one rate for a
tensor. The harmonics need two, the color's and the rest's; as two tensors they had to be joined for
every drawing and their gradient cut in two again, which took longer than the step itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from .jit import ONE, kernel
from .runtime import workers

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-15  # Kerbl et al. (2023)
_B1, _B2, _EPS = np.float32(_BETA1), np.float32(_BETA2), np.float32(_EPSILON)
_PERIOD = 256  # numbers in a job at least
_SMALLEST = 64  # jobs a thread must have to be worth starting


@kernel
def adam(first, last, values, slopes, means, squares, rates, correction):  # type: ignore[no-untyped-def]
    """Jobs ``first`` .. ``last - 1``, a job being as many numbers as ``rates`` (R,) has.

    ``values``, ``slopes`` (the gradient), ``means``, ``squares``: float32 (S,); all but the slopes
    are updated. ``rates`` are divided by 1 - beta1^t already; ``correction``:
    1 / sqrt(1 - beta2^t).
    """
    for job in range(first, last):
        begin = job * len(rates)
        end = min(begin + len(rates), len(values))
        p, g = values[begin:end], slopes[begin:end]
        m, v = means[begin:end], squares[begin:end]
        for k in range(end - begin):
            m[k] = _B1 * m[k] + (ONE - _B1) * g[k]
            v[k] = _B2 * v[k] + (ONE - _B2) * (g[k] * g[k])
            p[k] -= rates[k] * m[k] / (math.sqrt(v[k]) * correction + _EPS)


class Adam(torch.optim.Optimizer):
    """torch's interface over the kernel, for float32 tensors on the processor.

    A group holds one parameter (N, ...); its ``columns`` (a row's size,) multiply the group's
    ``lr``. State as torch's own Adam keeps it: step, exp_avg, exp_avg_sq.
    """

    def __init__(self, groups: Sequence[dict[str, Any]]) -> None:
        super().__init__(groups, {})

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step of every parameter that has a gradient."""
        for group in self.param_groups:
            parameter = group["params"][0]
            if parameter.grad is not None:
                self._step(parameter, group["lr"], group["columns"])

    def _step(self, parameter: torch.Tensor, rate: float, columns: npt.NDArray[np.float32]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            for name in ("exp_avg", "exp_avg_sq"):
                state[name] = torch.zeros_like(parameter)
        state["step"] += 1
        steps = float(state["step"])
        rates = np.tile(columns, -(-_PERIOD // len(columns))) * (rate / (1 - _BETA1**steps))
        arrays = (parameter, parameter.grad, state["exp_avg"], state["exp_avg_sq"])
        values, slopes, means, squares = (_flat(a) for a in arrays)
        pool = workers()
        pool.run(
            pool.even(-(-len(values) // len(rates)), _SMALLEST), adam, values, slopes, means,
            squares, rates.astype(np.float32), np.float32(1 / math.sqrt(1 - _BETA2**steps)),
        )  # fmt: skip


def _flat(tensor: torch.Tensor) -> npt.NDArray[np.float32]:
    """The tensor's own memory, flat; torch refuses a view where that would have to be a copy."""
    flat: npt.NDArray[np.float32] = tensor.detach().view(-1).numpy()
    return flat
