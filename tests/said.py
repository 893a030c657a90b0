"""Tables of sentences and what provokes them, for those that no other test comes across.

``tools/sentences.py --provoked`` fails for a sentence that no test provokes; a new one that stands
for something rare (a program that is not there, a disk that fails) gets a line here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gs_diffusion_addon.core.errors import GsdError

Case = Callable[[Path, pytest.MonkeyPatch], object]
"""Does what must fail; gets an empty folder and pytest's monkeypatch."""


class Table(dict[str, Case]):
    """Part of a sentence -> what provokes it."""

    def says(self, words: str) -> Callable[[Case], Case]:
        """Decorator: the function makes the program say a sentence with ``words`` in it."""

        def add(case: Case) -> Case:
            assert words not in self, words
            self[words] = case
            return case

        return add

    def check(self, words: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The case ends as one sentence with ``words`` in it, and a full stop."""
        with pytest.raises(GsdError) as caught:
            self[words](folder, monkeypatch)
        said = str(caught.value)
        assert words in said, said
        assert "\n" not in said and said.rstrip()[-1] in ".?'…", said


def raiser(error: BaseException) -> Callable[..., object]:
    """A function that raises ``error`` whatever it is given: a failing part of the machine."""

    def fail(*_: object, **__: object) -> object:
        raise error

    return fail
