"""What we write as subtitles is read by others' libraries as what was meant."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Callable

import pysubs2
import pytest
import webvtt
from hypothesis import example, given
from hypothesis import strategies as st

from app.audio.subtitles import Segment, srt, vtt

_TEXTS = st.text(st.sampled_from("ab 1-><&\n\r\t\u2028{}:,") | st.characters(codec="utf-8"), max_size=12)
_TIMES = st.sampled_from([0.0, 0.0004, 0.0005, 1.0, 1.5, 3.9999, 3600.0, 400_000.0, -1.0, math.nan, math.inf])
_SEGMENTS = st.lists(st.builds(Segment, _TIMES, _TIMES, _TEXTS), max_size=6)


def words(text: str) -> list[str]:
    return text.replace("-->", "→").replace("\0", "").split()


@given(_SEGMENTS)
@example([Segment(1, 2, "a --> b"), Segment(1, 2, "1\n\n00:00:01,000 --> 00:00:02,000\n\nc"), Segment(0, 1, "  ")])
def test_any_segments_make_cues_in_order_that_lose_no_text(segments: list[Segment]) -> None:
    spoken = [segment for segment in segments if words(segment.text)]
    text = srt(segments)
    cues = [block.split("\n", 2) for block in text.split("\n\n") if block]
    assert [int(number) for number, _, _ in cues] == list(range(1, len(spoken) + 1))
    times = [tuple(moment.replace(",", ".").split(":") for moment in line.split(" --> ")) for _, line, _ in cues]
    seconds = [[int(h) * 3600 + int(m) * 60 + float(s) for h, m, s in pair] for pair in times]
    assert all(start < end for start, end in seconds)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(seconds))
    assert sorted(word for _, _, said in cues for word in words(said)) == sorted(w for s in spoken for w in words(s.text))


@given(_SEGMENTS)
def test_a_vtt_holds_as_many_cues_as_segments_with_text(segments: list[Segment]) -> None:
    captions = webvtt.from_buffer(io.StringIO(vtt(segments), newline="\n"))
    assert len(captions) == sum(bool(words(segment.text)) for segment in segments)


def test_srt_is_read_by_a_library_as_it_was_meant() -> None:
    segments = [Segment(0, 1.5, "One."), Segment(61.0004, 3725.9996, "Two,\nin two lines."), Segment(3726, 3727, "Three")]
    found = pysubs2.SSAFile.from_string(srt(segments), format_="srt")
    assert [(event.start, event.end, event.plaintext) for event in found] == [
        (0, 1500, "One."),
        (61_000, 3_726_000, "Two,\nin two lines."),
        (3_726_000, 3_727_000, "Three"),
    ]


def test_vtt_is_read_by_a_library_as_it_was_meant() -> None:
    segments = [Segment(0, 1.5, "A < B & C --> D"), Segment(1.2, 3, "next")]
    first, second = webvtt.from_buffer(io.StringIO(vtt(segments))).captions
    assert (first.start, first.end, first.raw_text) == ("00:00:00.000", "00:00:01.200", "A &lt; B &amp; C --&gt; D")
    assert (second.start, second.end, second.text) == ("00:00:01.200", "00:00:03.000", "next")


@pytest.mark.parametrize("write", [srt, vtt])
def test_nothing_said_is_a_file_without_cues(write: Callable[[list[Segment]], str]) -> None:
    assert write([]) == write([Segment(0, 1, " \n ")]) == ("WEBVTT\n" if write is vtt else "")
