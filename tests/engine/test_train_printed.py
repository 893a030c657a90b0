"""Trainers' output as facts: the same events however the bytes are cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gs_diffusion_addon.core.foreign import Piece, Pieces, Tail
from gs_diffusion_addon.engine.train.external import Follower
from gs_diffusion_addon.engine.train.printed import Seen, brush, graphdeco, opensplat

# in the recorded format: stdout lines and \r bars, mixed as a terminal would show them
RECORDED = (
    "Optimizing /data/é/model [24/11 16:00:00]\n"
    "Output folder: /data/é/model [24/11 16:00:00]\n"
    "Reading Training Transforms [24/11 16:00:01]\n"
    "\rReading camera 1/72\rReading camera 2/72\n"
    "Loading Training Cameras [24/11 16:00:02]\r\n"
    "Number of points at initialisation :  15000 [24/11 16:00:05]\n"
    "\rTraining progress:   0%|          | 0/30000 [00:00<?, ?it/s]"
    "\rTraining progress:   0%|          | 10/30000 [00:04<3:22:10,  2.47it/s, Loss=0.2093012]"
    "\rTraining progress:  23%|██▎       | 7000/30000 [14:57<1:04:39,  5.93it/s, Loss=0.0170123, "
    "Depth Loss=0.0000000]"
    "\n\n[ITER 7000] Evaluating test: L1 0.00951 PSNR 33.2310 [24/11 16:15:00]\n"
    "\n[ITER 7000] Evaluating train: L1 0.0071 PSNR 35.1 [24/11 16:15:01]\n"
    "\n[ITER 7000] Saving Gaussians [24/11 16:15:02]\n"
    "\n[ITER 7000] Saving Checkpoint [24/11 16:15:03]\n"
    "\rTraining progress:  99%|█████████▉| 29990/30000 [1:14:57<00:02,  4.00s/it, Loss=nan]\n"
    "\nTraining complete. [24/11 17:15:04]\n"
).encode()

EXPECTED = [
    Seen("phase", name="Reading Training Transforms"),
    Seen("phase", name="Loading Training Cameras"),
    Seen("points", count=15000),
    Seen("step", 0, 30000, name="Training progress"),
    Seen("step", 10, 30000, loss=0.2093012, rate=2.47, name="Training progress"),
    Seen("step", 7000, 30000, loss=0.0170123, rate=5.93, name="Training progress"),
    Seen("judged", 7000, psnr=33.231, name="test"),
    Seen("judged", 7000, psnr=35.1, name="train"),
    Seen("saved", 7000),
    Seen("checkpoint", 7000),
    Seen("step", 29990, 30000, loss=float("nan"), rate=0.25, name="Training progress"),
    Seen("done"),
]


def facts(chunks, reader=graphdeco):
    pieces = Pieces()
    cut = [p for c in chunks for p in pieces.feed(c)] + list(pieces.close())
    return [repr(s) for s in map(reader, cut) if s], cut


def test_a_recorded_stream_gives_its_facts():
    assert facts([RECORDED])[0] == [repr(e) for e in EXPECTED]


@pytest.mark.parametrize("size", range(1, 130))
def test_chunks_of_every_size_give_the_same_events(size):
    chunks = [RECORDED[k : k + size] for k in range(0, len(RECORDED), size)]
    assert facts(chunks) == facts([RECORDED])


@given(st.lists(st.integers(0, len(RECORDED)), max_size=40))
@settings(max_examples=200, deadline=None)
def test_cuts_anywhere_give_the_same_events(cuts):
    at = [0, *sorted(cuts), len(RECORDED)]
    assert facts([RECORDED[a:b] for a, b in itertools.pairwise(at)]) == facts([RECORDED])


@given(st.binary(max_size=400), st.integers(1, 7))
@settings(deadline=None)
def test_any_bytes_cut_anyhow_give_the_same_pieces(data, size):
    chunks = [data[k : k + size] for k in range(0, len(data), size)]
    assert facts(chunks)[1] == facts([data])[1]


def test_lines_are_told_from_bars_also_with_windows_line_ends():
    _, cut = facts([b"one\r\ntwo\rthree\r\r\nfour\nfive"])
    texts = [(p.text, p.passing) for p in cut]
    assert texts == [
        ("one", False), ("two", True), ("three", True), ("four", False), ("five", False)
    ]  # fmt: skip


def test_the_tail_is_bounded_and_counts_a_bar_once():
    tail = Tail()
    for k in range(1000):
        tail.add(Piece(f"bar {k}", passing=True))
    assert tail.lines == ("bar 999",)
    for k in range(1000):
        tail.add(Piece(f"{k}" * 500))
    assert len(tail.lines) == 40 and max(map(len, tail.lines)) <= 300


def test_a_resumed_process_counts_on_from_where_it_began():
    events = []
    follower = Follower(lambda event, **f: events.append((event, f)), "x", graphdeco, 30000)
    for n in (10, 15000):
        follower(
            Piece(f"Training progress:  1%|█ | {n}/15000 [00:04<3:22:10,  2.47it/s, Loss=0.2]")
        )
    progress = [f["done"] for e, f in events if e == "progress"]
    assert progress[0] == 15010 and progress[-1] == 30000


def test_opensplat_and_brush_lines():
    assert opensplat(Piece("Step 10: 0.153 (1%)")) == Seen("step", 10, loss=0.153)
    assert opensplat(Piece("Using CPU")) is None
    line = "[2026-11-24T16:00:00Z INFO  brush_cli] Refine iter 200, 12345 splats."
    assert brush(Piece(line)) == Seen("splats", 200, count=12345)
    judged = brush(Piece("[... INFO brush_cli] Eval iter 1000: PSNR 28.25, ssim 0.91"))
    assert judged == Seen("judged", 1000, psnr=28.25, name="test")
    bar = "[1m] ◍◍○○○     500/1000    Steps (25.5/s, 20s remaining)"
    assert brush(Piece(bar.replace("    Steps", " Steps"))).step == 500
