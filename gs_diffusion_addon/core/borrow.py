"""A turntable that another run has rendered already is copied, not rendered again.

A sweep's runs mostly differ in what comes after the turntable. Copies, not links: each run stays
whole by itself, and what somebody repaints in one is not repainted in another.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from . import stages
from .digests import file_digest
from .errors import InputError
from .inside import inside
from .made import Made
from .run import Run, atomic, read_manifest
from .version import version

STAGE = "turntable"
RECORD = stages.record_name(STAGE, 0)


def turntable(run: Run, key: Mapping[str, str], lenders: Path) -> str:
    """Copy the turntable of a run in ``lenders`` (a run's folder, or a folder of runs) that was
    made from the same settings and the same model (``key``) by this version; its name, or empty.

    Every file is compared with what its run noted when it was made, so a repainted or damaged
    frame is not taken, nor one that changes meanwhile. What lies here already stays.
    """
    for root in _runs(lenders):
        if root != run.root and _same(root, key) and _copied(run, root):
            return root.name
    return ""


def _runs(lenders: Path) -> Iterator[Path]:
    if (lenders / "run.json").is_file():
        yield lenders.resolve()
        return
    for path in sorted(lenders.glob("*/run.json")):
        yield path.parent.resolve()


def _same(root: Path, key: Mapping[str, str]) -> bool:
    try:
        manifest: dict[str, Any] = read_manifest(root)
    except InputError:
        return False
    record = manifest["stages"].get(RECORD, {})
    ours = manifest["versions"].get("gs_diffusion") == version()
    done: bool = record.get("state") == "done" and record["key"] == dict(key)
    return done and ours


def _copied(run: Run, root: Path) -> bool:
    """Whether all that ``root`` noted of its turntable is here now; if not, no copy is left."""
    facts = Made(root).facts(RECORD)
    copies: list[Path] = []
    try:
        places = [p.relative_to(run.root) for p in stages.BY_NAME[STAGE].outputs(run)]
        for name, (size, content) in facts.items():
            if not any(Path(name).is_relative_to(place) for place in places):
                return _dropped(copies)
            target, source = inside(run.root, name), inside(root, name)
            if target.exists():
                continue
            with atomic(target) as temporary:
                shutil.copyfile(source, temporary)
                good = temporary.stat().st_size == size and file_digest(temporary) == content
                if good:
                    copies.append(target)
            if not good:
                return _dropped([*copies, target])
    except (OSError, InputError):
        return _dropped(copies)
    return all(path.exists() for path in stages.BY_NAME[STAGE].proof(run)) or _dropped(copies)


def _dropped(copies: list[Path]) -> bool:
    for path in copies:
        path.unlink(missing_ok=True)
    return False
