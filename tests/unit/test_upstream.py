"""Somebody else's posed pictures: what is found, repaired, refused, and the original's options."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from gs_diffusion_addon.core import arguments, pipeline, stale, upstream, upstream_options
from gs_diffusion_addon.core.digests import digest
from gs_diffusion_addon.core.errors import InputError
from gs_diffusion_addon.core.folder import resolve
from gs_diffusion_addon.core.run import Run, new_manifest
from gs_diffusion_addon.core.settings import Settings, from_json


def write(folder, count=10, name="./images/{:04d}", there=None, **more):
    """A transforms.json of ``count`` frames, pictures (empty files) for those ``there``."""
    folder.mkdir(parents=True, exist_ok=True)
    frames = [
        {"file_path": name.format(k), "sharpness": 30.0, "transform_matrix": np.eye(4).tolist()}
        for k in range(count)
    ]
    data = {"camera_angle_x": 0.7, "aabb_scale": 4, "frames": frames, **more}
    (folder / "transforms.json").write_text(json.dumps(data))
    for k in range(count) if there is None else there:
        path = folder / f"{name.format(k)}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def test_pictures_are_found_without_their_ending_and_missing_ones_left_out(tmp_path):
    there = [k for k in range(12) if k not in (3, 7)]
    found = upstream.find(write(tmp_path, 12, there=there))
    assert [s.place for s in found.shots] == there
    assert found.missing == ("./images/0003", "./images/0007") and not found.from_video
    assert [s.place for s in upstream.find(tmp_path, 5).shots] == [0, 2, 5, 8, 10]
    assert upstream.find(tmp_path / "transforms.json") == found


def test_too_many_missing_pictures_are_refused_with_the_first_name(tmp_path):
    with pytest.raises(InputError, match=r"8 of them are missing.*0002"):
        upstream.find(write(tmp_path, 10, there=[0, 1]))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"camera_model": "OPENCV_FISHEYE"}, "OPENCV_FISHEYE"),
        ({"is_fisheye": True}, "fisheye"),
        ({"k1": "big"}, "k1"),
        ({"frames": []}, "0 usable frames"),
        ({"frames": 3}, "frames"),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path, more, words):
    with pytest.raises(InputError, match=words) as caught:
        upstream.find(write(tmp_path, **more))
    assert str(caught.value).endswith(".")


def test_a_folder_without_cameras_or_none_at_all_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(InputError, match="--main-folder"):
            upstream.find(folder)


def test_the_lens_is_read_and_frames_go_by_their_numbers(tmp_path):
    write(tmp_path, 10, k1=-0.1, p2=0.001, camera_model="OPENCV")
    found = upstream.find(tmp_path)
    assert not found.lens.straight and (found.lens.k1, found.lens.p2) == (-0.1, 0.001)
    data = json.loads((tmp_path / "transforms.json").read_text())
    data["frames"].reverse()
    (tmp_path / "transforms.json").write_text(json.dumps(data))
    shuffled = upstream.find(tmp_path)
    assert [s.place for s in shuffled.shots] == list(range(9, -1, -1))
    frames = upstream.frames_of(shuffled, lambda name: (40, 30))
    assert [f.frame for f in frames] == list(range(10)) and frames[0].camera.width == 40


def test_a_video_stands_in_for_pictures(tmp_path):
    write(tmp_path, 9, there=[])
    with pytest.raises(InputError, match="missing"):
        upstream.find(tmp_path)
    (tmp_path / "iter0.mp4").touch()
    found = upstream.find(tmp_path)
    assert found.from_video and len(found.shots) == 9 and not found.missing


def translated(*words):
    argv = upstream_options.normalized(["run", "--out", "x", *words])
    parsed = arguments.build().parse_args(argv)
    return upstream_options.translate(parsed, arguments.given_settings(parsed))


def test_the_originals_options_are_understood(tmp_path):
    found, said = translated(
        *("--fps", "30", "--batch_size", "8", "--sides", "4", "--resolution", "1536"),
        *("--max_frames", "144", "--border_frames", "2", "--output_resolution", "512"),
    )
    assert found == {"views": 144, "size": "512", "page_size": 1536, "keys": 18}
    assert len(said) == 6 and all(s.endswith(".") and s.startswith("--") for s in said)
    write(tmp_path, 10)
    found, _ = translated("--main_folder", str(tmp_path), "--batch-size=4", "--max_frames", "9")
    assert found == {"main_frames": 9, "keys": 3}
    found, _ = translated("--batch_size", "8", "--keys", "5")
    assert found == {}


def test_cameras_nested_too_deeply_are_a_sentence(tmp_path):
    (tmp_path / "transforms.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match="nested too deeply"):
        upstream.find(tmp_path)


def test_another_number_of_frames_is_counted_anew(tmp_path):
    given = {"main_folder": str(write(tmp_path / "main", 12))}
    manifest = new_manifest(from_json(given), "0")
    manifest["resolved"] = {"views": 12, "rings": "none", "trainer": "builtin"}
    supervisor = pipeline.Supervisor(tmp_path / "run", lambda event: None, redo=True)
    supervisor._change(manifest, {"main_frames": 9})
    assert manifest["resolved"] == {"trainer": "builtin"}
    fixed = from_json({**manifest["settings"], "compare_independent": "no"})
    fixed = dataclasses.replace(fixed, stylizer="preview", propagator="none", trainer="builtin")
    assert resolve(fixed, manifest["resolved"])["views"] == 9


def test_a_main_folder_counts_by_the_pictures_its_cameras_name(tmp_path):
    """Wherever in it they lie; a run of an earlier version goes by what counted then."""
    main = write(tmp_path / "main", 12, "./rgb/{}")
    given = Settings(main_folder=str(main), train_steps=500)
    run = Run(tmp_path / "run", 0)
    done = {"key": stale.stage_key("turntable", run, given), "state": "done"}
    done["values"] = stale.values_of("turntable", 0, given)
    done["sources"] = stale.sources_of("turntable", run, given)
    old = {"values": {**done["values"]}}
    for name in stale.FIRST_SPLAT:
        del old["values"][name]
    old["key"] = {"settings": "x", "inputs": digest(stale._folder_facts(main))}

    def is_stale(settings=given, record=done):
        return stale.stage_key("turntable", run, settings, record) != record["key"]

    longer = dataclasses.replace(given, train_steps=700)
    assert is_stale(longer) and not is_stale(longer, old)
    assert not is_stale() and not is_stale(record=old)
    picture = main / "rgb" / "3.jpg"
    whole = picture.read_bytes()
    picture.write_bytes(b"retouched")
    assert is_stale() and not is_stale(record=old)
    picture.write_bytes(whole)
    (main / "rgb" / "of nobody.jpg").touch()
    assert not is_stale()
    main.rename(tmp_path / "elsewhere")
    assert not is_stale() and is_stale(longer) and not is_stale(record=old)


def test_saying_what_auto_was_taken_for_changes_nothing(tmp_path):
    manifest = new_manifest(from_json({}), "0")
    manifest["resolved"] = {"stylizer": "preview", "trainer": "builtin"}
    manifest["stages"] = {"1/stylize": {}, "1/train": {}}
    supervisor = pipeline.Supervisor(tmp_path / "run", lambda event: None)
    supervisor._change(manifest, {"trainer": "builtin", "stylizer": "preview"})
    assert manifest["settings"]["trainer"] == "builtin"
    with pytest.raises(InputError, match="its stage train would be stale"):
        supervisor._change(manifest, {"trainer": "gsplat"})


def test_another_stylizer_decides_anew_what_auto_is_for_the_comparison(tmp_path):
    manifest = new_manifest(from_json({"stylizer": "preview"}), "0")
    manifest["resolved"] = {"compare_independent": "yes", "trainer": "builtin"}
    supervisor = pipeline.Supervisor(tmp_path / "run", lambda event: None, redo=True)
    supervisor._change(manifest, {"stylizer": "a1111"})
    assert manifest["resolved"] == {"trainer": "builtin"}
