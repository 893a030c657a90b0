"""Keyframes that the user rejects are left out."""

import pytest

from gs_diffusion_addon.core.errors import InputError
from gs_diffusion_addon.core.orbit import plan_keys, used_keys
from gs_diffusion_addon.core.settings import Settings, from_json


def test_rejected_keys_are_left_out():
    settings = Settings(views=12, keys=4, rings="", reject_keys="3, 6")
    assert plan_keys(settings) == [0, 3, 6, 9]
    assert used_keys(settings) == [0, 9]
    with pytest.raises(InputError, match="no keyframe"):
        used_keys(Settings(views=12, keys=2, rings="", reject_keys="0,6"))
    with pytest.raises(InputError, match="reject-keys"):
        from_json({"reject_keys": "three"})
