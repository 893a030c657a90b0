"""Windows' job object: the structure as Windows lays it out, and each call's documented failure."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from gs_diffusion_addon.core import job_object, pipeline, process
from gs_diffusion_addon.core.settings import Settings

JOB, SELF = 0x7FFF_0000_1234, -1 & (1 << 64) - 1


class Kernel32:
    """Records the calls; ``fails`` is the one that answers as Windows does on failure."""

    def __init__(self, fails=""):
        self.fails, self.calls, self.limits = fails, [], None

    def _answer(self, name, good, bad):
        self.calls.append(name)
        return bad if name == self.fails else good

    def CreateJobObjectW(self, attributes, name):
        assert attributes is None, "with attributes the handle could be inherited"
        assert name is None
        return self._answer("CreateJobObjectW", JOB, None)

    def SetInformationJobObject(self, job, kind, information, size):
        assert (job, kind, size) == (JOB, 9, 144)
        self.limits = bytes(information._obj)
        return self._answer("SetInformationJobObject", 1, 0)

    def GetCurrentProcess(self):
        return SELF

    def AssignProcessToJobObject(self, job, child):
        assert (job, child) == (JOB, SELF)
        return self._answer("AssignProcessToJobObject", 1, 0)

    def CloseHandle(self, job):
        assert job == JOB
        return self._answer("CloseHandle", 1, 0)


def test_the_structures_are_laid_out_as_on_64_bit_windows():
    basic, extended = job_object.BasicLimits, job_object.ExtendedLimits
    offsets = {name: getattr(basic, name).offset for name, _ in basic._fields_}
    assert offsets == {
        "PerProcessUserTimeLimit": 0,
        "PerJobUserTimeLimit": 8,
        "LimitFlags": 16,
        "MinimumWorkingSetSize": 24,
        "MaximumWorkingSetSize": 32,
        "ActiveProcessLimit": 40,
        "Affinity": 48,
        "PriorityClass": 56,
        "SchedulingClass": 60,
    }
    assert ctypes.sizeof(basic) == 64
    offsets = {name: getattr(extended, name).offset for name, _ in extended._fields_}
    assert offsets == {
        "BasicLimitInformation": 0,
        "IoInfo": 64,
        "ProcessMemoryLimit": 112,
        "JobMemoryLimit": 120,
        "PeakProcessMemoryUsed": 128,
        "PeakJobMemoryUsed": 136,
    }
    assert ctypes.sizeof(extended) == 144


def test_the_job_ends_all_when_its_last_handle_closes_and_the_handle_is_kept():
    kernel = Kernel32()
    assert job_object._hold(kernel, lambda: 0) is None
    assert kernel.calls == [
        "CreateJobObjectW",
        "SetInformationJobObject",
        "AssignProcessToJobObject",
    ]
    # KILL_ON_JOB_CLOSE and BREAKAWAY_OK, and no limit besides
    assert kernel.limits == bytes(16) + (0x2800).to_bytes(4, "little") + bytes(124)


@pytest.mark.parametrize("number", range(3))
def test_each_failure_is_a_sentence_and_leaves_no_handle(number):
    name = ["CreateJobObjectW", "SetInformationJobObject", "AssignProcessToJobObject"][number]
    kernel = Kernel32(fails=name)
    sentence = job_object._hold(kernel, lambda: 5)
    assert f"{name.removesuffix('W')}: error 5" in sentence
    assert "Task Manager" in sentence
    assert kernel.calls[number] == name
    assert kernel.calls[number + 1 :] == (["CloseHandle"] if number else [])


def test_a_failure_is_one_warning_of_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "hold_descendants", lambda: "Windows does not.")
    events = []
    supervisor = pipeline.Supervisor(tmp_path, events.append)
    supervisor._work({"stages": {}}, Settings(), [], "import")
    assert [e["message"] for e in events if e["event"] == "warning"] == ["Windows does not."]


def test_commands_without_a_run_say_it_too(monkeypatch):
    monkeypatch.setattr(process, "hold_descendants", lambda: "Windows does not.")
    monkeypatch.setattr(process.signal, "signal", lambda *_: None)
    events = []
    process.stop_on_signals(None, events.append)
    assert [(e["event"], e["message"]) for e in events] == [("warning", "Windows does not.")]


class Popen:
    """Takes note of the options; ``refused``: whether the job around ours lets nothing leave."""

    def __init__(self, refused):
        self.refused, self.options = refused, []

    def __call__(self, command, **options):
        self.options.append({k: v for k, v in options.items() if not k.startswith("std")})
        if self.refused and options.get("creationflags"):
            raise PermissionError(13, "Access is denied")


@pytest.mark.parametrize("refused", [False, True])
def test_the_users_own_program_is_started_outside_of_the_job(refused, monkeypatch):
    popen = Popen(refused)
    monkeypatch.setattr(job_object.subprocess, "Popen", popen)
    monkeypatch.setattr(job_object.sys, "platform", "win32")
    job_object.start_apart(["EbSynth.exe", "part1.ebs"])
    assert popen.options == [{"creationflags": 0x01000000}, *([{}] if refused else [])]


def test_the_guard_finds_the_module_beside_it():
    folder = Path(job_object.__file__).parent
    source = (folder / "job_object.py").read_text(encoding="utf-8")
    assert 'with_name("job_object.py")' in (folder / "guard.py").read_text(encoding="utf-8")
    assert "from ." not in source, "the guard has no package around it"
