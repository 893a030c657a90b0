"""Brush and OpenSplat: trainers with a command line of their own, any GPU or none.

Each is a :class:`Trainer`: its data layout, its command and where its result lies. Both keep the
world of the data set (OpenSplat only with ``--keep-crs``), which
:func:`.external.require_in_place` checks. Written from Brush's and OpenSplat's sources; not run
here, only against stand-ins with their options and output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import MissingError
from ...core.events import Emit
from ...core.ply import Splats, read_splats
from ...core.programs import help_of, known, options_of, trainer_program
from ...core.run import Run
from ...core.settings import Settings
from . import external, layouts
from .printed import Reader, brush, opensplat

Options = Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class Program:
    """What differs between two such trainers.

    ``write(run, folder)`` writes the data set; ``options(settings, data, out)`` lists the command's
    options, of which only what the program's --help names is passed on; ``needs`` must be among
    them, each a group of names of which one is enough.
    """

    name: str
    title: str
    write: Callable[[Run, Path], None]
    options: Callable[[Settings, Path, Path], Options]
    needs: Sequence[Sequence[str]]
    read: Reader
    environment: dict[str, str]


def _options_of(program: Program, path: str) -> frozenset[str]:
    options = options_of(help_of((path,)))
    for group in program.needs:
        if not options & set(group):
            raise MissingError(
                f"{path} has no option {group[0]}, which is needed; install a newer "
                f"{program.title}."
            )
    return options


def check(program: Program, settings: Settings) -> None:
    """Raise MissingError where the program is missing or lacks an option."""
    _options_of(program, trainer_program(settings, program.name))


def command(program: Program, settings: Settings, data: Path, out: Path) -> list[str]:
    """The whole command line; raises MissingError."""
    path = trainer_program(settings, program.name)
    arguments, _ = known(program.options(settings, data, out), _options_of(program, path))
    return [path, str(data), *arguments]


def train(program: Program, run: Run, settings: Settings, emit: Emit) -> Splats:
    """Train with the program; returns the model in Blender's world.

    Raises MissingError, or StageError when it fails or its result stands elsewhere.
    """
    data, out = run.model / f"{program.name}_data", run.model / program.name
    arguments = command(program, settings, data, out)
    emit("phase", message=f"Writing {program.title}'s data set")
    program.write(run, data)
    out.mkdir(parents=True, exist_ok=True)
    result = out / "splat.ply"
    result.unlink(missing_ok=True)  # of an attempt that was killed while it wrote
    emit("phase", message=f"Training with {program.title}")
    follower = external.Follower(emit, program.title, program.read, settings.train_steps)
    ended = external.follow(
        run, settings, arguments, program.name, follower, out, program.environment
    )
    if ended.code != 0 or not result.is_file():
        log = external.log_of(run, program.name)
        raise external.failure(ended, program.title, follower.step, log, settings.silence)
    splats = read_splats(result)
    external.require_in_place(run, splats, program.title)
    return splats


# --- Brush --------------------------------------------------------------------------------------


def _write_brush(run: Run, folder: Path) -> None:
    # Without camera_model: Brush refuses "PINHOLE". It takes init.ply for its first splats, learns
    # from straight alpha, and looks for each file_path as it stands.
    layouts.write_nerfstudio_scene(
        run,
        folder,
        layouts.sets_of(run, centered=False),
        names=("transforms_train.json", "transforms_test.json"),
        points="init.ply",
        background=None,
        model=None,
    )


def _brush_options(settings: Settings, data: Path, out: Path) -> Options:
    steps = str(settings.train_steps)
    return [
        ("--total-train-iters", steps),
        ("--total-steps", steps),  # its name before version 0.3
        ("--sh-degree", str(settings.sh_degree)),
        ("--max-splats", str(settings.max_splats)),
        ("--growth-stop-iter", str(max(1, settings.train_steps // 2))),
        ("--max-resolution", "8192"),
        ("--seed", str(settings.seed)),
        ("--eval-every", str(max(1, settings.train_steps // 4))),
        ("--export-every", steps),
        ("--export-path", str(out)),
        ("--export-name", "splat.ply"),
    ]


BRUSH = Program(
    "brush",
    "Brush",
    _write_brush,
    _brush_options,
    (("--total-train-iters", "--total-steps"), ("--export-path",), ("--export-name",)),
    brush,
    {"RUST_LOG": "info"},
)


# --- OpenSplat ----------------------------------------------------------------------------------


def _write_opensplat(run: Run, folder: Path) -> None:
    # It drops alpha without compositing, so its frames are opaque.
    layouts.write_nerfstudio_scene(
        run,
        folder,
        layouts.sets_of(run, centered=False),
        names=("transforms.json", ""),
        points="points3d.ply",
        background=(0.0, 0.0, 0.0),
        model="PINHOLE",
    )


def _opensplat_options(settings: Settings, data: Path, out: Path) -> Options:
    steps = settings.train_steps
    return [
        ("--output", str(out / "splat.ply")),
        ("--num-iters", str(steps)),
        ("--sh-degree", str(max(1, settings.sh_degree))),
        ("--keep-crs",),
        ("--num-downscales", "2" if steps >= 9000 else "0"),
        ("--warmup-length", str(min(500, max(1, steps // 10)))),
        ("--refine-every", str(min(100, max(10, steps // 30)))),
    ]


OPENSPLAT = Program(
    "opensplat",
    "OpenSplat",
    _write_opensplat,
    _opensplat_options,
    (("--keep-crs",), ("--output",), ("--num-iters",)),
    opensplat,
    {},
)
