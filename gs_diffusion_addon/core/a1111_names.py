"""Names that users write, resolved against a server's own lists: pure functions.

A server takes something else for a name that it does not know, without a word, so every name is
looked up before it is sent and unknown ones are refused with the choices.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from .errors import InputError


def resolve_sampler(
    sampler: str,
    scheduler: str,
    samplers: Sequence[Mapping[str, Any]],
    schedulers: Sequence[Mapping[str, Any]] | None,
) -> tuple[str, str | None]:
    """The server's own names of a sampler and a noise schedule, aliases and combined names
    included.

    ``schedulers`` is None for servers without that list: those before 1.9 spell the schedule into
    the sampler's name ("DPM++ 2M Karras"), and the schedule returned is None. Servers since 1.9
    know "DPM++ 2M Karras" as two names, and the one written there wins over ``scheduler``. Raises
    InputError with the choices, because servers replace unknown names silently.
    """
    by_name = _by_name(samplers, "name")
    plain = scheduler.strip() in ("", "Automatic")
    if schedulers is None:
        combined = by_name.get(fold(f"{sampler} {scheduler}")) if not plain else None
        if combined:
            return combined, None
        found = _need(sampler, by_name, "sampler", "--sampler")
        return found, None if plain else scheduler
    labels = _by_name(schedulers, "label", "name")
    found_sampler = by_name.get(fold(sampler))
    if found_sampler is None:
        for head, tail in _split_schedule(sampler, labels):
            if head in by_name:
                found_sampler, scheduler = by_name[head], tail
    found_sampler = found_sampler or _need(sampler, by_name, "sampler", "--sampler")
    return found_sampler, _need(scheduler or "Automatic", labels, "scheduler", "--scheduler")


def _split_schedule(sampler: str, labels: Mapping[str, str]) -> list[tuple[str, str]]:
    """Ways to read a combined name: "Euler SGM Uniform" ends with Uniform and with SGM Uniform."""
    name = fold(sampler)
    return [(name[: -len(k) - 1], label) for k, label in labels.items() if name.endswith(f" {k}")]


def resolve_checkpoint(checkpoint: str, models: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """Title and model name of the model called ``checkpoint``: by title, name, file or hash.

    Raises InputError with the choices, because servers keep the loaded model for an unknown name.
    """
    wanted = fold(checkpoint)
    for model in models:
        title, name = str(model.get("title") or ""), str(model.get("model_name") or "")
        file = str(model.get("filename") or "").replace("\\", "/").rsplit("/", 1)[-1]
        keys = {title, title.partition(" [")[0], name, file, str(model.get("hash") or "")}
        if wanted in {fold(k) for k in keys if k}:
            return title or name, name or title
    names = [str(m.get("model_name") or m.get("title")) for m in models]
    raise InputError(
        f"The server has no diffusion model called {checkpoint!r}; --checkpoint can be "
        f"{_choices(names, checkpoint)}."
    )


def same_model(a: str, b: str) -> bool:
    """Whether two names mean one model file, whatever folder, ending or hash they are given with.

    In an answer a model is called by its bare file name, in the lists with folder and hash.
    """
    return _bare(a) == _bare(b)


def _bare(name: str) -> str:
    file = name.partition(" [")[0].replace("\\", "/").rsplit("/", 1)[-1]
    head, dot, ending = file.rpartition(".")
    return fold(head if dot and ending.casefold() in ("safetensors", "ckpt", "gguf") else file)


def resolve_vae(vae: str, vaes: Sequence[Mapping[str, Any]]) -> str:
    """The server's name of the VAE called ``vae``; "Automatic" and "None" are always there.

    Raises InputError with the choices.
    """
    names = ["Automatic", "None", *(str(v.get("model_name") or "") for v in vaes)]
    for name in names:
        if name and (fold(name) == fold(vae) or _bare(name) == _bare(vae)):
            return name
    raise InputError(f"The server has no VAE called {vae!r}; --vae can be {_choices(names, vae)}.")


def check_loras(prompt: str, loras: Sequence[Mapping[str, Any]]) -> None:
    """Raise InputError if ``prompt`` names a LoRA that the server lacks: it would ignore it."""
    known = {fold(str(e[f])) for e in loras for f in ("name", "alias") if e.get(f)}
    for name in lora_names(prompt):
        if fold(name) not in known:
            names = [str(e.get("name")) for e in loras]
            raise InputError(
                f"The server has no LoRA called {name!r}, which --prompt names; it has "
                f"{_choices(names, name)}."
            )


def lora_names(prompt: str) -> list[str]:
    """``"a head <lora:bronze:0.8>"`` -> ["bronze"]."""
    return [name.strip() for name in re.findall(r"<lora:([^:>]+)", prompt, re.IGNORECASE)]


def same_checkpoint(a: str, b: str) -> bool:
    """Whether two titles name one model; the hash in brackets appears only once it was computed."""
    return fold(a.partition(" [")[0]) == fold(b.partition(" [")[0])


def _by_name(entries: Sequence[Mapping[str, Any]], *fields: str) -> dict[str, str]:
    """Folded name or alias -> the first of ``fields``; proper names win over aliases."""
    found: dict[str, str] = {}
    for aliases in (False, True):
        for entry in entries:
            proper = str(entry.get(fields[0]) or "")
            listed = entry.get("aliases")
            others = [*(listed if isinstance(listed, list) else []), *map(entry.get, fields[1:])]
            for key in others if aliases else [proper]:
                if key and proper:
                    found.setdefault(fold(str(key)), proper)
    return found


def _need(name: str, known: Mapping[str, str], what: str, flag: str) -> str:
    found = known.get(fold(name))
    if found is None:
        names = list(dict.fromkeys(known.values()))
        raise InputError(
            f"The server has no {what} called {name!r}; {flag} can be {_choices(names, name)}."
        )
    return found


def fold(name: str) -> str:
    return " ".join(name.split()).casefold()


def _choices(names: Sequence[str], wanted: str, most: int = 30) -> str:
    """The names, those like ``wanted`` first."""
    near = difflib.get_close_matches(fold(wanted), [fold(n) for n in names], 3)
    names = sorted(names, key=lambda n: near.index(fold(n)) if fold(n) in near else len(near))
    shown = ", ".join(names[:most]) or "nothing, its list is empty"
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
