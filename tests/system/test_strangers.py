"""A stranger's .blend runs no script, a stranger's words no markup, and no password is written."""

from __future__ import annotations

import html.parser
import json
import os
import shutil
import subprocess
import sys

import pytest

from gs_diffusion_addon.core.interpreters import worker_python
from gs_diffusion_addon.core.settings import Settings

from .program import TINY, WORKER, gsd

PASSWORD = "Sesame-4711"

TRAPS = """
import bpy, sys
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.mesh.primitive_cube_add(size=2)
cube = bpy.context.object
proof = sys.argv[2]
text = bpy.data.texts.new("trap.py")
text.write(f"open({proof!r} + '-text', 'w').close()\\n")
text.use_module = True  # "Register": run when the file is opened with scripts allowed
handler = bpy.data.texts.new("handler.py")
handler.write("import bpy\\ndef trap(*_):\\n    open(%r, 'w').close()\\n"
              "bpy.app.handlers.load_post.append(trap)\\ntrap()\\n" % (proof + "-handler"))
handler.use_module = True
driver = cube.driver_add("location", 0).driver
driver.type = "SCRIPTED"
driver.expression = f"(open({proof!r} + '-driver', 'w').close(), 0.0)[1]"
space = bpy.data.objects.new("empty", None)
bpy.context.scene.collection.objects.link(space)
bpy.ops.wm.save_as_mainfile(filepath=sys.argv[1])
import os; os._exit(0)
"""

ALLOWED = """
import bpy, sys
bpy.ops.wm.open_mainfile(filepath=sys.argv[1], use_scripts=True)
bpy.context.view_layer.update()
import os; sys.stdout.flush(); os._exit(0)
"""

MARKUP = [
    "<script>document.title='owned'</script>",
    "</script><img src=x onerror=alert(1)>",
    '"><svg onload=alert(2)>',
    "' onmouseover='alert(3)",
    "<!-- ]]> --> &lt;b&gt; {{7*7}} ${7*7} javascript:alert(4)",
]


@pytest.fixture(scope="module")
def trap(tmp_path_factory):
    """A .blend with a registered text, a load handler and a driver, each of which writes a file."""
    folder = tmp_path_factory.mktemp("stranger")
    blend, proof = folder / "trap.blend", folder / "proof"
    subprocess.run(
        [sys.executable, "-c", TRAPS, str(blend), str(proof)], check=True, capture_output=True
    )
    for made in folder.glob("proof*"):  # the driver ran while the file was made
        made.unlink()
    return blend


def proofs(blend):
    return sorted(p.name for p in blend.parent.glob("proof*"))


def test_the_trap_works_where_scripts_are_allowed(trap):
    subprocess.run([sys.executable, "-c", ALLOWED, str(trap)], check=True, capture_output=True)
    assert {"proof-text", "proof-handler"} <= set(proofs(trap))
    for made in trap.parent.glob("proof*"):
        made.unlink()


def test_the_worker_opens_a_blend_without_running_its_scripts(trap, tmp_path):
    options = ["--until", "turntable", *TINY]
    done = gsd("run", "--blend", trap, "--out", tmp_path / "run", *options)
    assert done.code == 0, done.err
    assert proofs(trap) == []


@pytest.mark.skipif(not shutil.which("blender"), reason="no Blender application on the PATH")
def test_neither_does_the_application(trap, tmp_path):
    """``blender -b FILE -P worker.py``: the child that works is started with scripts off."""
    command = ["blender", "-b", "--factory-startup", str(trap), "-P", str(WORKER), "--", "run"]
    command += ["--out", str(tmp_path / "run"), "--until", "turntable", *TINY]
    subprocess.run(command, capture_output=True, timeout=600, check=False)
    assert proofs(trap) == []


class Page(html.parser.HTMLParser):
    """The elements and event attributes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts, self.handlers, self.tags = 0, [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.scripts += tag == "script"
        self.handlers += [a for a, _ in attributes if a.startswith("on")]
        self.handlers += [v for _, v in attributes if str(v).startswith("javascript:")]


def test_the_report_shows_markup_as_text(finished, tmp_path):
    """The report of a run whose every text is markup has the elements of one whose texts are
    harmless.
    """
    root = tmp_path / "run"
    shutil.copytree(finished, root)
    before = Page((root / "report.html").read_text(encoding="utf-8"))
    manifest = json.loads((root / "run.json").read_text(encoding="utf-8"))
    hostile = "".join(MARKUP)
    for name in ("prompt", "negative_prompt", "checkpoint", "vae", "sampler", "scheduler"):
        manifest["settings"][name] = hostile
    manifest["settings"]["server"] = "http://127.0.0.1:9/" + MARKUP[2]
    manifest["versions"]["worker"][hostile] = hostile
    (root / "run.json").write_text(json.dumps(manifest), encoding="utf-8")
    with open(root / "events.jsonl", "a", encoding="utf-8") as file:
        for text in MARKUP:
            file.write(json.dumps({"event": "warning", "stage": text, "message": text}) + "\n")
    child = subprocess.Popen(  # as the supervisor starts it: it ends when its input does
        [
            worker_python(Settings()),
            str(WORKER),
            *["stage", "report", "--part", "0", "--out"],
            str(root),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert child.wait(timeout=600) == 0
    child.stdin.close()
    text = (root / "report.html").read_text(encoding="utf-8")
    after = Page(text)
    assert "&lt;script&gt;document.title" in text  # it is shown, as text
    assert after.scripts == before.scripts
    assert after.handlers == before.handlers
    assert "svg" not in set(after.tags) - set(before.tags)
    for line in MARKUP[:3]:
        assert line not in text.replace("&quot;", "\0")


def test_a_password_in_an_address_is_refused_and_not_repeated(scene, tmp_path):
    """Wherever a password may be typed by mistake, it is in no file and no sentence."""
    for address in (f"http://user:{PASSWORD}@127.0.0.1:9", f"user:{PASSWORD}@127.0.0.1"):
        out = tmp_path / "out"
        options = ["--stylizer", "a1111", "--server", address, *TINY]
        for command in (["run", "--blend", scene, "--out", out], ["check"]):
            given = options if command[0] == "run" else options[2:4]
            done = gsd(*command, *given)
            assert done.code == 2
            assert PASSWORD not in done.out + done.err
            assert "GSD_A1111_AUTH" in done.err
        assert not out.exists()


def test_a_password_in_the_environment_is_in_no_command_line(scene, tmp_path):
    """It is in no log, where command lines are written, and in no other file."""
    out = tmp_path / "out"
    env = {**os.environ, "GSD_A1111_AUTH": f"user:{PASSWORD}"}
    options = [*TINY, "--stylizer", "a1111", "--server", "http://127.0.0.1:9"]
    done = gsd("run", "--blend", scene, "--out", out, *options, env=env)
    assert done.code == 3, done.err
    assert PASSWORD not in done.out + done.err
    for path in (p for p in out.rglob("*") if p.is_file()):
        assert PASSWORD.encode() not in path.read_bytes(), path
