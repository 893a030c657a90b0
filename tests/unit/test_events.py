"""The progress stream: any chunking gives the same events, foreign output is log text."""

from __future__ import annotations

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st

from gs_diffusion_addon.core.events import RECORD, Progress, Splitter, encode, make_event

STREAM = (
    "Blender 4.5.15 LTS\n"
    f"\n{RECORD}{encode(make_event('progress', done=1, total=2, unit='frames'))}\n"
    f"Fra:1 Mem:8.00M {RECORD}{encode(make_event('frame_done', frame=1, path='ä/✓.png'))}\r\n"
    f"{RECORD}not json\n{RECORD}[1]\n"
    "last line without an end"
).encode()


def split(chunks):
    splitter = Splitter()
    out = [item for chunk in chunks for item in splitter.feed(chunk)]
    return out + list(splitter.close())


WHOLE = split([STREAM])


def test_events_and_text():
    assert [i["event"] for i in WHOLE if isinstance(i, dict)] == ["progress", "frame_done"]
    assert [i for i in WHOLE if isinstance(i, str)] == [
        "Blender 4.5.15 LTS",
        "Fra:1 Mem:8.00M ",
        "not json",
        "[1]",
        "last line without an end",
    ]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_chunks_of_any_size_give_the_same(cuts):
    edges = [0, *sorted(cuts), len(STREAM)]
    assert split(STREAM[a:b] for a, b in itertools.pairwise(edges)) == WHOLE


@given(st.binary(max_size=200))
def test_no_input_breaks_it(data):
    for item in split([data]):
        assert isinstance(item, (str, dict))


def test_progress_reports_the_last_unit_and_an_eta():
    seen = []
    progress = Progress(lambda event, **f: seen.append(f), total=3, unit="frames", done=1)
    progress.tick()
    progress.tick(image="a.png")
    assert seen[0]["done"] == 1 and seen[0]["eta"] is None
    assert seen[-1]["done"] == 3 and seen[-1]["eta"] == 0 and seen[-1]["image"] == "a.png"
    json.dumps(seen)
