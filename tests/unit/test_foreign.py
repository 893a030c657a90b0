"""Foreign programs: followed, bounded, ended with us; quoting and priority on every system."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gs_diffusion_addon.core.errors import StageError
from gs_diffusion_addon.core.foreign import foreign_environment, run_foreign
from gs_diffusion_addon.core.graphdeco import needed_bytes
from gs_diffusion_addon.core.process import child_environment, group_options, quoted, run_child
from gs_diffusion_addon.core.programs import known, options_of
from tests.processes import LIMIT, alive, wait_for

ROOT = Path(__file__).resolve().parents[2]


def foreign(tmp_path, code, pieces=None, **more):
    seen = pieces if pieces is not None else []
    return run_foreign(
        [sys.executable, "-u", "-c", code],
        log=tmp_path / "logs" / "x.log",
        on_piece=seen.append,
        env=foreign_environment(1),
        **more,
    )


def test_output_exit_code_and_log(tmp_path):
    seen = []
    code = "import sys; print('one'); sys.stderr.write('bar 1\\rbar 2\\r'); sys.exit(7)"
    ended = foreign(tmp_path, code, seen)
    assert ended.code == 7 and ended.signal == 0 and not ended.silent
    assert {"one", "bar 1", "bar 2"} == {p.text for p in seen}
    text = (tmp_path / "logs" / "x.log").read_text()
    assert "one" in text and "-c" in text.splitlines()[0]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signals")
def test_a_signal_is_told(tmp_path):
    ended = foreign(tmp_path, "import os; os.kill(os.getpid(), 9)")
    assert ended.signal == 9


def test_ten_megabytes_of_output_leave_a_bounded_tail(tmp_path):
    code = "import sys\nfor k in range(20000): print(k, 'x' * 500)"
    ended = foreign(tmp_path, code)
    assert len(ended.tail) == 40 and ended.tail[-1].startswith("19999")
    assert max(map(len, ended.tail)) <= 300


def test_silence_ends_the_whole_tree(tmp_path):
    seen = []
    code = (
        "import subprocess, sys, time\n"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'])\n"
        "print(p.pid); time.sleep(300)"
    )
    start = time.monotonic()
    ended = foreign(tmp_path, code, seen, silence=15)
    assert ended.silent and time.monotonic() - start < LIMIT
    wait_for(lambda: not alive(int(seen[0].text)))


def test_an_exception_of_the_follower_ends_the_program(tmp_path):
    def fail(piece):
        raise StageError(piece.text)

    with pytest.raises(StageError, match="now"):
        run_foreign(
            [sys.executable, "-u", "-c", "import time; print('now'); time.sleep(300)"],
            log=tmp_path / "x.log",
            on_piece=fail,
            env=foreign_environment(1),
        )


def test_a_foreign_program_ends_when_we_are_killed(tmp_path):
    parent = (
        "import sys\nfrom pathlib import Path\n"
        "from gs_diffusion_addon.core.foreign import foreign_environment, run_foreign\n"
        "run_foreign([sys.executable, '-u', '-c', 'import os, time; print(os.getpid()); "
        "time.sleep(300)'], log=Path(sys.argv[1]), env=foreign_environment(1), "
        "on_piece=lambda p: print(p.text, flush=True))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", parent, str(tmp_path / "x.log")],
        stdout=subprocess.PIPE,
        text=True,
        env=child_environment(1, {"PYTHONPATH": str(ROOT)}),
    )
    pid = int(process.stdout.readline())
    assert alive(pid)
    process.kill()
    process.wait()
    wait_for(lambda: not alive(pid))


def test_our_own_pythons_variables_are_kept_from_a_foreign_python(monkeypatch):
    monkeypatch.setenv("PYTHONHOME", "/blender")
    monkeypatch.setenv("VIRTUAL_ENV", "/ours")
    monkeypatch.setenv("GSD_THREADS", "3")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    env = foreign_environment(0)
    assert not {"PYTHONHOME", "VIRTUAL_ENV", "GSD_THREADS", "OMP_NUM_THREADS"} & set(env)
    assert foreign_environment(5)["OMP_NUM_THREADS"] == "5"
    assert env["PYTHONUNBUFFERED"] == "1"


@pytest.mark.skipif(os.name == "nt", reason="niceness is POSIX")
@pytest.mark.parametrize(("priority", "nice"), [("normal", 0), ("low", 10), ("idle", 19)])
def test_priority_reaches_grandchildren(tmp_path, priority, nice):
    here = os.getpriority(os.PRIO_PROCESS, 0)
    if here > nice:
        pytest.skip("this process itself runs at a lower priority")
    code = (
        "import os, subprocess, sys, time\n"
        f"while os.nice(0) < {nice or here}: time.sleep(0.02)  # set after the start\n"
        "subprocess.run([sys.executable, '-c', 'import os; print(os.nice(0))'])"
    )
    ended = run_child(
        [sys.executable, "-c", code],
        log=tmp_path / "a.log",
        on_event=lambda e: None,
        stop=threading.Event(),
        env=child_environment(1),
        priority=priority,
    )
    assert ended.tail == (str(nice or here),)  # "normal" leaves what it was started with


def test_windows_children_get_a_group_and_a_priority_class():
    assert group_options("normal", windows=True) == {"creationflags": 0x200 | 0x20}
    assert group_options("low", windows=True) == {"creationflags": 0x200 | 0x4000}
    assert group_options("idle", windows=False) == {"start_new_session": True}


def windows_arguments(line):
    """CommandLineToArgvW as Microsoft documents it: 2n backslashes and a quote are n backslashes
    and a border, 2n + 1 are n backslashes and the quote itself.
    """
    out, current, quoted_, open_, k = [], "", False, False, 0
    while k < len(line):
        c = line[k]
        if c == "\\":
            run = len(line[k:]) - len(line[k:].lstrip("\\"))
            k += run
            if k < len(line) and line[k] == '"':
                current += "\\" * (run // 2)
                open_ = True
                if run % 2:
                    current += '"'
                    k += 1
            else:
                current += "\\" * run
                open_ = True
            continue
        if c == '"':
            quoted_, open_ = not quoted_, True
        elif c in " \t" and not quoted_:
            if open_:
                out.append(current)
            current, open_ = "", False
        else:
            current, open_ = current + c, True
        k += 1
    return out + ([current] if open_ else [])


@given(st.lists(st.text(alphabet='a"\\ \tü', max_size=12), min_size=1, max_size=5))
def test_windows_command_lines_are_read_back(arguments):
    assert windows_arguments(quoted(arguments, windows=True)) == arguments


def test_paths_with_spaces_quotes_and_umlauts_reach_a_program(tmp_path):
    quote = "'" if os.name == "nt" else '"'  # Windows has no such names
    folder = tmp_path / f"mein {quote}Ordner{quote} ü 'x'"
    folder.mkdir()
    seen = []
    run_foreign(
        [sys.executable, "-c", "import sys; print(ascii(sys.argv[1]))", str(folder)],
        log=folder / "x.log",
        on_piece=seen.append,
        env=foreign_environment(1),
        cwd=folder,
    )
    assert eval(seen[0].text) == str(folder)


def test_options_come_from_the_help_text():
    text = "usage: train.py [-h] [--sh_degree SH_DEGREE]\n  --eval   some-text\n  -w, --white_x\n"
    options = options_of(text)
    assert options == {"--sh_degree", "--eval", "--white_x"}
    arguments, unknown = known([("--eval",), ("--depths", "d"), ("--sh_degree", "3")], options)
    assert arguments == ["--eval", "--sh_degree", "3"] and unknown == ["--depths"]


def test_memory_estimate_grows_with_frames_and_splats():
    small = needed_bytes(72, 512, 512, 15000)
    assert 1.5e9 < small < 4e9
    assert needed_bytes(720, 512, 512, 15000) > small
    assert needed_bytes(72, 512, 512, 1_000_000) > 2 * small
