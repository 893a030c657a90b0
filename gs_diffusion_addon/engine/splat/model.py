"""The trained parameters with their optimizer: stepping, splitting and pruning.

Splitting takes the splats whose positions the loss pulls hardest (mean screen gradient since the
last time) and cuts each in two along its longest axis. No clones and no opacity reset: with a
start on the surface they lose quality.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ...core.ply import Splats
from .adam import Adam
from .curve import along_curve
from .reference import rotations

# Kerbl et al. (2023), in units of the scene's extent (which is 1 in the local world), but for two
# which are measured: scales take twice theirs, and the harmonics' rest six times, since a thousand
# steps are too few for a twentieth of the color's (held-out views +0.7 dB, more with degree 3).
RATES = {
    "means": 1.6e-4,
    "quats": 1e-3,
    "scales": 1e-2,
    "opacities": 2.5e-2,
    "sh0": 2.5e-3,
    "shn": 7.5e-4,
}
MEANS_DECAY = 0.01  # the positions' rate falls exponentially to this share
# The others fall from here on (share of the steps) to this share: held-out views +0.4 dB.
SETTLES, SETTLED = 0.5, 0.3

_SPLIT_OFFSET, _SPLIT_SCALE = 0.5, 0.6  # of the longest standard deviation: shift, remaining length


@dataclass(eq=False)
class Model:
    """``parameters``: means, quats, scales, opacities, and the harmonics: as sh where our own Adam
    steps them, in two parts whose rates differ, sh0 and shn, where torch's does.
    """

    parameters: dict[str, torch.Tensor]
    optimizer: torch.optim.Optimizer

    @property
    def count(self) -> int:
        """Number of splats."""
        return len(self.parameters["means"])

    def arguments(self) -> tuple[torch.Tensor, ...]:
        """The five tensors a rasterizer takes."""
        p = self.parameters
        sh = p["sh"] if "sh" in p else torch.cat([p["sh0"], p["shn"]], 1)
        return p["means"], p["quats"], p["scales"], p["opacities"], sh

    def splats(self) -> Splats:
        """A copy in local coordinates, quaternions normalized."""
        with torch.no_grad():
            means, quats, scales, opacities, sh = (t.cpu().numpy() for t in self.arguments())
        lengths = np.linalg.norm(quats, axis=1, keepdims=True)
        return Splats(
            means.copy(), sh.copy(), opacities.copy(), scales.copy(),
            (quats / np.maximum(lengths, 1e-12)).astype(np.float32),
        )  # fmt: skip


def model_of(splats: Splats, device: str, multiplier: float, kernels: bool = False) -> Model:
    """A model that starts from ``splats``; learning rates are the paper's times ``multiplier``.

    ``kernels``: on the processor, with :class:`.adam.Adam`.
    """
    arrays = {
        "means": splats.means,
        "quats": splats.quats,
        "scales": splats.scales,
        "opacities": splats.opacities,
        **({"sh": splats.sh} if kernels else {"sh0": splats.sh[:, :1], "shn": splats.sh[:, 1:]}),
    }
    tensors = {
        n: torch.tensor(a, dtype=torch.float32, device=device).contiguous().requires_grad_(True)
        for n, a in arrays.items()
    }
    return Model(tensors, _adam(tensors, multiplier))


def _adam(tensors: dict[str, torch.Tensor], multiplier: float) -> torch.optim.Optimizer:
    if "sh" in tensors:
        return Adam(
            [
                {"params": [t], "lr": _rate(n) * multiplier, "name": n, "columns": _columns(n, t)}
                for n, t in tensors.items()
            ]
        )
    # Without a rest of harmonics (degree 0) their empty tensor must not reach the fused kernel.
    groups = [
        {"params": [t], "lr": _rate(n) * multiplier, "name": n}
        for n, t in tensors.items()
        if t.numel()
    ]
    return torch.optim.Adam(groups, eps=1e-15, fused=True)


def _columns(name: str, tensor: torch.Tensor) -> npt.NDArray[np.float32]:
    """A row's rates in units of its parameter's."""
    row = np.ones(tensor.shape[1:], np.float32)
    if name == "sh":
        row[1:] = RATES["shn"] / RATES["sh0"]
    return row.reshape(-1)


def _rate(name: str) -> float:
    return RATES["sh0" if name == "sh" else name]


def set_rates(model: Model, progress: float, multiplier: float) -> None:
    """Decay the learning rates; ``progress`` 0..1."""
    settled = SETTLED ** max(0.0, (progress - SETTLES) / (1 - SETTLES))
    for group in model.optimizer.param_groups:
        share = MEANS_DECAY**progress if group["name"] == "means" else settled
        group["lr"] = _rate(group["name"]) * multiplier * share


def refine(
    model: Model, pull: npt.NDArray[np.float64], share: float, most: int, faintest: float
) -> int:
    """Prune splats below the opacity ``faintest``, split the ``share`` with the strongest
    ``pull`` (N,).

    At most ``most`` splats are left. Splats that nothing pulls (zero) are not split. Returns how
    many were pruned.
    """
    with torch.no_grad():
        opacity = torch.sigmoid(model.parameters["opacities"]).cpu().numpy()
        keep = opacity >= faintest
        room = max(0, most - int(keep.sum()))
        strength = np.where(keep, pull, 0.0)
        wanted = min(room, int(share * model.count))
        strongest = np.argsort(-strength, kind="stable")[:wanted]
        chosen = torch.from_numpy(strongest[strength[strongest] > 0]).to(_device(model))
        children = _split(model, chosen)
        _rebuild(model, torch.from_numpy(np.nonzero(keep)[0]).to(_device(model)), children)
    return int((~keep).sum())


def _device(model: Model) -> torch.device:
    return model.parameters["means"].device


def _split(model: Model, chosen: torch.Tensor) -> dict[str, torch.Tensor]:
    """Move and shorten the ``chosen`` splats; returns their twins on the other side."""
    p = model.parameters
    scales, quats = p["scales"][chosen], p["quats"][chosen]
    longest = scales.argmax(1, keepdim=True)
    axis = rotations(quats).gather(2, longest[:, None].expand(-1, 3, 1))[..., 0]
    shift = axis * torch.exp(scales.gather(1, longest)) * _SPLIT_OFFSET
    scales = scales.scatter_add(1, longest, torch.full_like(shift[:, :1], np.log(_SPLIT_SCALE)))
    twins = {n: t[chosen].clone() for n, t in p.items()}
    twins["scales"], twins["means"] = scales, twins["means"] - shift
    p["means"][chosen] += shift
    p["scales"][chosen] = scales
    return twins


def _rebuild(model: Model, keep: torch.Tensor, children: dict[str, torch.Tensor]) -> None:
    """Keep the rows ``keep``, add ``children``, and sort along :mod:`.curve`; the optimizer's
    memory follows, empty for children.
    """
    groups = {g["name"]: g for g in model.optimizer.param_groups}
    means = torch.cat([model.parameters["means"].detach()[keep], children["means"]])
    order = torch.from_numpy(along_curve(means.cpu().numpy())).to(means.device)
    for name, old in model.parameters.items():
        new = torch.cat([old.detach()[keep], children[name]])[order].requires_grad_(True)
        model.parameters[name] = new
        if name not in groups:
            continue
        state = model.optimizer.state.pop(old, None)
        groups[name]["params"] = [new]
        if state:
            empty = torch.zeros_like(children[name])
            model.optimizer.state[new] = {
                "step": state["step"],
                **{k: torch.cat([state[k][keep], empty])[order] for k in ("exp_avg", "exp_avg_sq")},
            }


def finite(model: Model) -> bool:
    """Whether all parameters are numbers."""
    return all(bool(torch.isfinite(t).all()) for t in model.parameters.values())


def arrays_of(model: Model) -> dict[str, npt.NDArray[np.float32]]:
    """Everything a checkpoint needs of a model, by name."""
    out: dict[str, npt.NDArray[np.float32]] = {}
    for name, tensor in model.parameters.items():
        out[name] = tensor.detach().cpu().numpy()
        for key, value in model.optimizer.state.get(tensor, {}).items():
            out[f"{name}.{key}"] = value.cpu().numpy()
    return out


def model_of_arrays(
    arrays: dict[str, npt.NDArray[np.float32]], device: str, multiplier: float
) -> Model:
    """The inverse of :func:`arrays_of`."""
    tensors = {
        n: torch.from_numpy(arrays[n].copy()).to(device).requires_grad_(True)
        for n in (*RATES, "sh")
        if n in arrays
    }
    model = Model(tensors, _adam(tensors, multiplier))
    for name, tensor in tensors.items():
        if f"{name}.step" in arrays:
            model.optimizer.state[tensor] = {
                # as torch's fused optimizer keeps it: the step count, too, is a float32 tensor
                key: torch.from_numpy(np.array(arrays[f"{name}.{key}"])).to(device)
                for key in ("step", "exp_avg", "exp_avg_sq")
            }
    return model
