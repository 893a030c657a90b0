"""What Blender's operators say when they fail, as the end of a sentence."""

from __future__ import annotations


def reason(error: RuntimeError) -> str:
    """The last line of an operator's error, which says what went wrong; a traceback may stand
    above.
    """
    lines = [line.strip(" -\t") for line in str(error).splitlines() if line.strip()]
    text = lines[-1] if lines else "no reason given"
    text = text.removeprefix("Error:").strip()
    return text if text.endswith(".") else text + "."
