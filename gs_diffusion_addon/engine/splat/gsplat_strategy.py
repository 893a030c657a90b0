"""gsplat's own ways to add and remove splats, in the built-in training loop.

``DefaultStrategy`` is Kerbl et al.'s (2023) clone, split and prune; ``MCMCStrategy`` is Kheradmand
et al.'s (2024), which moves dead splats and adds noise. Both want one optimizer for each parameter
and change the parameters in place. Their schedules are counted in steps, so they are scaled to the
training's length here. There is no opacity reset: with a start on the surface it loses quality.
"""

from __future__ import annotations

from typing import Any

import torch

from .model import Model

KINDS = ("default", "mcmc")

_ROUNDS = 60  # how often splats are added or removed at most, over the whole training


class Optimizers:
    """One Adam for each parameter behind the part of an optimizer's interface that we use."""

    def __init__(self, each: dict[str, torch.optim.Adam]) -> None:
        self.each = each
        self.state = _States(each)

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Their groups, in the order of the parameters: the positions' first."""
        return [group for one in self.each.values() for group in one.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients."""
        for one in self.each.values():
            one.zero_grad(set_to_none=set_to_none)

    def step(self) -> None:
        """One step of each."""
        for one in self.each.values():
            one.step()


class _States:
    """What all optimizers remember, by parameter."""

    def __init__(self, each: dict[str, torch.optim.Adam]) -> None:
        self._each = each

    def get(self, tensor: torch.Tensor, default: dict[str, Any]) -> dict[str, Any]:
        """The memory of one parameter."""
        for one in self._each.values():
            if tensor in one.state:
                found: dict[str, Any] = one.state[tensor]
                return found
        return default


def one_each(model: Model) -> dict[str, torch.optim.Adam]:
    """Give each parameter an optimizer of its own, which goes on with what the shared one knew."""
    shared = model.optimizer
    groups = {group["name"]: group for group in shared.param_groups}
    each = {}
    for name, tensor in model.parameters.items():
        rate = groups[name]["lr"] if name in groups else 0.0
        # Without a rest of harmonics its tensor is empty; the fused kernel must not see it.
        one = torch.optim.Adam([{"params": [tensor], "lr": rate, "name": name}], eps=1e-15,
                               fused=bool(tensor.numel()))  # fmt: skip
        memory = shared.state.get(tensor)
        if memory:
            one.state[tensor] = memory
        each[name] = one
    return each


class Strategy:
    """One of gsplat's strategies, started for one training with :meth:`begin`."""

    def __init__(self, kind: str) -> None:
        if kind not in KINDS:
            raise ValueError(f"gsplat has no strategy {kind!r}")
        self.kind = kind

    def begin(self, model: Model, steps: int, most_splats: int) -> None:
        """Take over ``model``'s optimizers; the local world's extent is 1."""
        import gsplat

        every = max(10, steps // _ROUNDS)
        schedule = {
            "refine_start_iter": min(500, steps // 10),
            "refine_stop_iter": steps // 2 if self.kind == "default" else steps * 5 // 6,
            "refine_every": min(100, every),
            "verbose": False,
        }
        if self.kind == "default":
            self._strategy = gsplat.DefaultStrategy(reset_every=steps + 1, **schedule)
            self._state = self._strategy.initialize_state(scene_scale=1.0)
        else:
            self._strategy = gsplat.MCMCStrategy(cap_max=most_splats, **schedule)
            self._state = self._strategy.initialize_state()
        self._most = most_splats
        self._optimizers = one_each(model)
        model.optimizer = Optimizers(self._optimizers)  # type: ignore[assignment]
        self._strategy.check_sanity(model.parameters, self._optimizers)

    def before_backward(self, model: Model, step: int, meta: dict[str, Any]) -> None:
        """Between drawing and the loss's backward pass."""
        if self.kind == "default":
            self._strategy.step_pre_backward(
                model.parameters, self._optimizers, self._state, step, meta
            )

    def after_step(self, model: Model, step: int, meta: dict[str, Any]) -> None:
        """After the optimizers' step: splats come and go."""
        common = (model.parameters, self._optimizers, self._state, step, meta)
        if self.kind == "mcmc":
            rate = self._optimizers["means"].param_groups[0]["lr"]
            self._strategy.step_post_backward(*common, lr=rate)
            return
        if model.count >= self._most:
            # gsplat's default strategy knows no limit: it may only go on pruning below it.
            self._strategy.refine_stop_iter = step
        self._strategy.step_post_backward(*common, packed=False)
