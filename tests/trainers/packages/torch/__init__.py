"""A stand-in for torch on a machine with an NVIDIA card, as graphdeco's scripts and our probe see
it.
"""

import os
import types

_NO_CARD = os.environ.get("STANDIN_FAULT") == "no_card"
__version__ = "2.1.2+cu118"
version = types.SimpleNamespace(cuda="11.8")


def _init():
    if _NO_CARD:
        raise RuntimeError(
            "The NVIDIA driver on your system is too old (found version 11040).\nUpdate it."
        )


cuda = types.SimpleNamespace(
    init=_init,
    is_available=lambda: not _NO_CARD,
    get_device_name=lambda index=0: "NVIDIA Stand-in 3090",
    mem_get_info=lambda: (int(os.environ.get("STANDIN_FREE_GB", "20")) << 30, 24 << 30),
)
