"""How well pictures fit a text, by a CLIP model that the user names; none comes with the program.

A folder as exported for onnxruntime: ``model.onnx`` (or ``onnx/model.onnx``) with the inputs
``input_ids``, ``attention_mask`` (optional) and ``pixel_values`` and the outputs ``text_embeds``
and ``image_embeds``, beside ``tokenizer.json``. The vision tower's own size and CLIP's published
mean and deviation are used.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from PIL import Image

from ..core.dataset import Frame
from ..core.errors import InputError
from ..core.run import Run
from ..core.settings import Settings
from ..core.stages import stage_settings
from .images import GRAY, over, read_rgba, to_bytes

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

SIDE = 224  # px, where the model does not say
MEAN = np.float32([0.48145466, 0.4578275, 0.40821073])
DEVIATION = np.float32([0.26862954, 0.26130258, 0.27577711])
LONGEST = 77  # tokens, begin and end included
VIEWS = 8  # views of ring 0 that are looked at
NO_MODEL = "no CLIP model was named with --clip-model"


class Clip:
    """A model ready to embed texts and pictures; both come out with length 1."""

    def __init__(self, folder: Path, threads: int) -> None:
        """Raises InputError if the folder holds no usable model."""
        if importlib.util.find_spec("tokenizers") is None:
            raise InputError(
                "CLIP needs the package tokenizers: 'pip install tokenizers' in the worker's "
                "environment."
            )
        import tokenizers

        model = next((p for p in (folder / "model.onnx", folder / "onnx" / "model.onnx")
                      if p.is_file()), None)  # fmt: skip
        words = folder / "tokenizer.json"
        if model is None or not words.is_file():
            raise InputError(
                f"{folder} holds no model.onnx with a tokenizer.json; correct --clip-model."
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(
                str(model), options, providers=["CPUExecutionProvider"]
            )
            self._tokenizer = tokenizers.Tokenizer.from_file(str(words))
        except Exception as error:  # noqa: BLE001 — both libraries raise bare exceptions of their own
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"The CLIP model in {folder} cannot be read: {reason}.") from None
        self._inputs = {i.name: i for i in self._session.get_inputs()}
        outputs = {o.name for o in self._session.get_outputs()}
        if not {"pixel_values", "input_ids"} <= set(self._inputs) or not {
            "text_embeds", "image_embeds"
        } <= outputs:  # fmt: skip
            raise InputError(f"{model} is no CLIP model: it lacks text_embeds and image_embeds.")
        side = self._inputs["pixel_values"].shape[-1]
        self._side = side if isinstance(side, int) else SIDE

    def texts(self, texts: Sequence[str]) -> Floats:
        """(n, d) float32."""
        rows = [self._tokenizer.encode(text).ids for text in texts]
        # CLIP looks at the end token, which a long prompt must not lose.
        rows = [row if len(row) <= LONGEST else row[: LONGEST - 1] + row[-1:] for row in rows]
        longest = max(len(row) for row in rows)
        ids = np.array([row + [row[-1]] * (longest - len(row)) for row in rows], np.int64)
        known = np.array([[1] * len(r) + [0] * (longest - len(r)) for r in rows], np.int64)
        blank = np.zeros((1, 3, self._side, self._side), np.float32)
        return self._run("text_embeds", ids, known, blank)

    def pictures(self, pictures: Sequence[Bytes]) -> Floats:
        """(n, d) float32 of pictures (h, w, 3) uint8, squeezed to a square."""
        stack = []
        for picture in pictures:
            small = Image.fromarray(picture).resize(
                (self._side, self._side), Image.Resampling.BICUBIC
            )
            scaled = (np.asarray(small, np.float32) / 255 - MEAN) / DEVIATION
            stack.append(scaled.transpose(2, 0, 1))
        ids = np.zeros((1, 2), np.int64)
        return self._run("image_embeds", ids, np.ones_like(ids), np.stack(stack))

    def _run(self, output: str, ids: Any, known: Any, pixels: Floats) -> Floats:
        feed = {
            "input_ids": ids,
            "pixel_values": pixels.astype(np.float32),
            "attention_mask": known,
        }
        feed = {name: value for name, value in feed.items() if name in self._inputs}
        found = np.asarray(self._session.run([output], feed)[0], np.float32)
        return found / np.maximum(np.linalg.norm(found, axis=-1, keepdims=True), 1e-9)


def check(settings: Settings) -> None:
    """Raise InputError for a model, if one is named, that cannot be used."""
    if settings.clip_model:
        Clip(Path(settings.clip_model), 1)


def similarity(
    run: Run, settings: Settings, circle: Sequence[Frame], threads: int
) -> dict[str, Any]:
    """``prompt``: mean cosine of the splat's renders with the prompt; ``direction``: cosine of
    what changed in the pictures (render less turntable) with what changed in words (prompt less
    ``clip_source``), as StyleGAN-NADA and InstructPix2Pix measure edits.

    The prompt is the iteration's own, where a schedule changes it. None with a ``reason`` where
    there is no model, no prompt or no render.
    """
    prompt = stage_settings("stylize", run.iteration, settings).prompt.strip()

    def nothing(reason: str) -> dict[str, Any]:
        return {"prompt": None, "direction": None, "reason": reason}

    if not settings.clip_model:
        return nothing(NO_MODEL)
    if not prompt:
        return nothing("there is no prompt")
    chosen = circle[:: max(1, len(circle) // VIEWS)]
    if not all(run.render(f.frame).is_file() for f in chosen):
        return nothing("the splat has not been rendered")
    try:
        clip = Clip(Path(settings.clip_model), threads)
        wanted, plain = clip.texts([prompt, settings.clip_source])
        after = clip.pictures([_on_gray(run.render(f.frame)) for f in chosen])
        before = clip.pictures([_on_gray(run.frame(f.frame)) for f in chosen])
    except InputError as error:
        return nothing(str(error))
    moved, meant = after - before, wanted - plain
    lengths = np.linalg.norm(moved, axis=-1) * np.linalg.norm(meant)
    directed = (moved @ meant)[lengths > 1e-9] / lengths[lengths > 1e-9]
    return {
        "prompt": float((after @ wanted).mean()),
        "direction": float(directed.mean()) if len(directed) else None,
        "model": Path(settings.clip_model).name,
    }


def _on_gray(path: Path) -> Bytes:
    return to_bytes(over(read_rgba(path), GRAY))
