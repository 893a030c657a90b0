"""A sweep as an Open Job Description template: one task a run, then the contact sheet.

Each task is the headless command itself, ``gsd sweep FILE --out DIR --only NAME``, so what a farm
does is what this machine would do (github.com/OpenJobDescription/openjd-specifications, 2023-09).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .errors import InputError
from .sweep import Job

MOST_TASKS = 1024  # values that one task parameter may have, by the specification


def template(
    jobs: Sequence[Job], sweep: Path, out: Path, folder: Path, until: str = "import"
) -> dict[str, Any]:
    """The job template as data for JSON, to lie in ``folder``; raises InputError for more runs than
    a step may have.

    The specification wants paths below that folder as defaults; others have to be given.
    """
    if len(jobs) > MOST_TASKS:
        raise InputError(
            f"{sweep} asks for {len(jobs)} runs; an Open Job Description step takes at most "
            f"{MOST_TASKS}. Split the file."
        )
    last = [] if until == "import" else ["--until", until]
    base = ["sweep", "{{Param.SweepFile}}", "--out", "{{Param.OutDir}}"]
    return {
        "specificationVersion": "jobtemplate-2023-09",
        "name": f"GS Diffusion {sweep.stem}"[:64],
        "parameterDefinitions": [
            {
                "name": "SweepFile",
                "type": "PATH",
                "objectType": "FILE",
                "dataFlow": "IN",
                **_default(sweep, folder),
                "description": "The sweep file, where every worker can read it.",
            },
            {
                "name": "OutDir",
                "type": "PATH",
                "objectType": "DIRECTORY",
                "dataFlow": "OUT",
                **_default(out, folder),
                "description": "The folder of all runs, shared by the workers.",
            },
            {
                "name": "Gsd",
                "type": "STRING",
                "default": "gsd",
                "description": "The program on the workers.",
            },
        ],
        "steps": [
            {
                "name": "Run",
                "parameterSpace": {
                    "taskParameterDefinitions": [
                        {"name": "Run", "type": "STRING", "range": [job.name for job in jobs]}
                    ]
                },
                "script": _script([*base, "--only", "{{Task.Param.Run}}", *last]),
            },
            {
                "name": "ContactSheet",
                "dependencies": [{"dependsOn": "Run"}],
                "script": _script(["sheet", "--out", "{{Param.OutDir}}"]),
            },
        ],
    }


def _default(path: Path, folder: Path) -> dict[str, str]:
    if not path.is_relative_to(folder):
        return {}
    return {"default": path.relative_to(folder).as_posix()}


def _script(arguments: Sequence[str]) -> dict[str, Any]:
    return {
        "actions": {
            "onRun": {
                "command": "{{Param.Gsd}}",
                "args": list(arguments),
                # Asks first, so that a run stops cleanly and can be gone on with.
                "cancelation": {"mode": "NOTIFY_THEN_TERMINATE", "notifyPeriodInSeconds": 10},
            }
        }
    }
