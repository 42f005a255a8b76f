"""What the daemon writes: a head that any YAML reader takes, and texts that say what they are."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.front_matter import read_head, rendered
from daemon.outcome import Failed
from daemon.texts import Origin, corrected_text, failed_text, raw_text

ORIGIN = Origin("a: \"b\" - 'c'.wav", "0" * 64, "1" * 64, datetime(2026, 1, 2, tzinfo=UTC), "job_1", None, ["Cut off: at 0:10.", "# loud"])


def transcript(*pieces: dict[str, Any]) -> dict[str, Any]:
    segments = [{"start": 10.0 * n, "end": 10.0 * n + 5, "text": piece["raw"]} for n, piece in enumerate(pieces)]
    return {
        "object": "transcript",
        "text": "\n\n".join(piece["raw"] for piece in pieces),
        "segments": segments,
        "corrected": "\n\n".join(piece["corrected"] or piece["raw"] for piece in pieces),
        "pieces": list(pieces),
        "corrected_pieces": sum(piece["kept_raw"] is None for piece in pieces),
        "total_pieces": len(pieces),
        "duration": 3723.4,
        "language": "yue",
        "model": "ears",
        "correction_model": "mouth",
    }


GOOD = {"raw": "one two", "corrected": "One, two.", "kept_raw": None}
BAD = {"raw": "three four", "corrected": None, "kept_raw": "summarised"}


@settings(max_examples=30)
@given(st.dictionaries(st.sampled_from(["source", "warnings", "code"]), st.text() | st.lists(st.text(), min_size=1)))
def test_any_text_survives_a_yaml_reader(fields: dict[str, Any]) -> None:
    text = rendered(fields)

    assert yaml.safe_load(text.removeprefix("---\n").removesuffix("---\n")) == (fields or None)


@given(st.text())
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, source: str) -> None:
    path: Path = tmp_path_factory.getbasetemp() / "head.md"
    path.write_text(rendered({"warnings": ["source: no"], "source": source, "models": {"a": "b"}}) + "\nsource: no\n", encoding="utf-8")

    assert read_head(path) == {"source": source}


@pytest.mark.parametrize("text", ["", "no head", "---\nsource: a\n", "----\nsource: a\n---\n"])
def test_a_file_without_a_whole_head_is_not_ours(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.md").write_text(text)

    assert read_head(tmp_path / "a.md") is None


def test_a_whole_correction_stands_as_it_came_and_counts_its_pieces() -> None:
    text = corrected_text(transcript(GOOD, GOOD), ORIGIN, timestamps=False)
    head = yaml.safe_load(text.split("---\n")[1])

    assert text.endswith("---\n\nOne, two.\n\nOne, two.\n")
    assert head["corrected_pieces"] == "2/2"
    assert head["models"] == ["ears", "mouth"]
    assert head["source"] == ORIGIN.source
    assert head["duration"] == "1:02:03"
    assert head["warnings"] == ORIGIN.warnings


def test_a_corrected_text_with_raw_pieces_says_so_first_and_marks_them() -> None:
    body = corrected_text(transcript(GOOD, BAD), ORIGIN, timestamps=False).split("---\n\n", 1)[1]

    assert body.startswith("> 1 of 2 pieces are not corrected but as they were heard, marked below: 2 (summarised).\n\nOne, two.\n\n")
    assert body.endswith("> As heard (summarised):\n\nthree four\n")
    assert "Nothing of this is corrected" in corrected_text(transcript(BAD, BAD), ORIGIN, timestamps=False)


def test_where_nobody_speaks_the_corrected_text_says_so_and_names_no_model_that_was_asked_nothing() -> None:
    text = corrected_text(transcript(), ORIGIN, timestamps=True)
    head = yaml.safe_load(text.split("---\n")[1])

    assert (head["corrected_pieces"], head["models"]) == ("0/0", ["ears"])
    assert text.endswith("---\n\n> Nobody speaks.\n")


def test_what_was_heard_has_no_warnings_of_its_correction() -> None:
    output = transcript(GOOD, BAD) | {"heard_warnings": ORIGIN.warnings[:1]}

    assert yaml.safe_load(raw_text(output, ORIGIN, timestamps=False).split("---\n")[1])["warnings"] == ORIGIN.warnings[:1]


def test_timestamps_stand_before_paragraphs_and_pieces() -> None:
    output = transcript(GOOD, BAD)

    assert raw_text(output, ORIGIN, timestamps=True).endswith("\n\n[0:00:00] one two\n\n[0:00:10] three four\n")
    corrected = corrected_text(output, ORIGIN, timestamps=True)
    assert "\n\n[0:00:00] One, two.\n\n> As heard (summarised):\n\n[0:00:10] three four\n" in corrected


def test_a_time_stands_after_each_pause() -> None:
    segments = [(0, 1, "你好"), (1, 2, "世界"), (9, 10, "Hello"), (10, 11, "world")]
    heard = {"text": "你好世界 Hello world", "segments": [{"start": a, "end": b, "text": text} for a, b, text in segments]}

    assert raw_text(heard, ORIGIN, timestamps=True).endswith("---\n\n[0:00:00] 你好世界\n\n[0:00:09] Hello world\n")


def test_a_failure_says_what_went_wrong_and_how_to_try_again() -> None:
    text = failed_text(Failed("correct", "model_load_failed", "It does not fit.", "job_1", {"text": "heard"}), ORIGIN, "mlx-local retry")

    assert yaml.safe_load(text.split("---\n")[1])["failed"] == "correct"
    assert "It does not fit." in text
    assert "mlx-local retry" in text
