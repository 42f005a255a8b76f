"""A document's pages become pictures, and what is none is refused in words that help."""

from __future__ import annotations

import io
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from PIL import Image, ImageChops

from app.documents.ranges import page_numbers
from app.documents.rendering import LONGEST_SIDE_PX, Rendered, RenderingStopped, page_count, probe, render
from app.errors import InvalidRequest, UnreadableDocument
from tests.documents import BROKEN, pdf, scanned, tiff

_ENDLESS = "1 0 0 RG " + "0 0 m 595 842 l S " * 400_000  # a page that takes seconds to draw


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # of this process, in which a test of pictures may have set it
    return tmp_path / "document"


def drawn(source: Path, page: int = 1, dpi: int = 200) -> tuple[Rendered, Image.Image]:
    target = source.with_suffix(".png")
    facts = render(source, page, target, dpi=dpi)
    picture = Image.open(io.BytesIO(target.read_bytes()))
    assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (facts.width_px, facts.height_px))
    return facts, picture


def test_pages_are_counted_and_drawn_one_by_one(source: Path) -> None:
    source.write_bytes(pdf(["One", "Two", ""]))
    assert probe(source) == ("pdf", 3)
    assert page_count(source) == 3
    (first, one), (second, two), (third, _) = (drawn(source, page) for page in (1, 2, 3))
    assert (first.blank, second.blank, third.blank) == (False, False, True)
    assert ImageChops.difference(one, two).getbbox() is not None
    left, top, *_ = ImageChops.invert(one.convert("L")).getbbox() or (0, 0)
    assert left / one.width * 595 == pytest.approx(72, abs=4)
    assert top / one.height * 842 == pytest.approx(82, abs=6)


def test_a_document_of_two_thousand_pages_takes_no_more_memory_than_one(source: Path) -> None:
    """What the renderer has in memory at most, as the system counts it of all ended children, and so never less than before."""
    source.write_bytes(pdf(["One"]))
    probe(source)
    drawn(source)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    source.write_bytes(pdf([f"Page {number}" for number in range(2000)]))
    assert page_count(source) == 2000
    assert drawn(source, 2000)[0].blank is False
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 1.5 * before


@pytest.mark.parametrize(("dpi", "width_px"), [(72, 595), (100, 827), (600, 1413)])
def test_a_page_has_the_resolution_that_was_asked_for_up_to_the_longest_side(source: Path, dpi: int, width_px: int) -> None:
    source.write_bytes(pdf(["One"]))
    facts, _ = drawn(source, dpi=dpi)
    assert facts.width_px == pytest.approx(width_px, abs=1)
    assert facts.height_px <= LONGEST_SIDE_PX


@pytest.mark.parametrize(
    "box", [(0, 0, 1e7, 1e7), (0, 0, 3e38, 3e38), (0, 0, 14_400, 1), (0, 0, 1, 14_400), (0, 0, 0, 0), (9, 9, -5, 1), (0, 0, 1e-3, 1e-3)]
)
def test_whatever_a_page_says_of_its_size_its_picture_is_small(source: Path, box: tuple[float, ...]) -> None:
    source.write_bytes(pdf(["One"], box=box))
    facts, _ = drawn(source)
    longer, shorter = max(facts[:2]), min(facts[:2])
    assert longer <= LONGEST_SIDE_PX
    assert longer <= 50 * shorter  # models refuse strips


def test_a_page_that_is_turned_is_upright(source: Path) -> None:
    source.write_bytes(pdf(["One"], more="/Rotate 90"))
    facts, _ = drawn(source)
    assert facts.width_px > facts.height_px


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_document_is_refused_with_a_sentence(source: Path, name: str) -> None:
    source.write_bytes(BROKEN[name])
    with pytest.raises(UnreadableDocument) as refused:
        probe(source)
    assert refused.value.param == "file"
    assert refused.value.message.endswith(".")
    assert str(source.parent) not in refused.value.message
    pages = 2 if name == "page-that-is-not-there" else 3 if name == "tiff-cut-off" else 1
    with pytest.raises(UnreadableDocument):
        render(source, pages, source.with_suffix(".png"))
    assert not source.with_suffix(".png").exists()


def test_a_page_beyond_the_end_is_refused(source: Path) -> None:
    source.write_bytes(pdf(["One"]))
    with pytest.raises(UnreadableDocument, match="no page 2"):
        render(source, 2, source.with_suffix(".png"))


def test_a_file_that_is_not_there_and_a_target_that_cannot_be_are_errors_of_ours(source: Path) -> None:
    with pytest.raises(FileNotFoundError):
        probe(source)
    source.write_bytes(pdf(["One"]))
    with pytest.raises(FileNotFoundError):
        render(source, 1, source.parent / "nowhere" / "a.png")


def test_every_page_of_a_tiff_is_one_whatever_its_pixels_are(source: Path) -> None:
    shades = Image.linear_gradient("L").resize((300, 400))
    frames = [shades, shades.convert("1"), shades.convert("RGB"), shades.convert("P"), shades.convert("CMYK"), shades.convert("RGBA")]
    source.write_bytes(tiff([*frames, shades.convert("I;16").point(lambda value: value * 256), Image.new("L", (90, 90), 200)]))
    assert probe(source) == ("tiff", 8)
    for page in range(1, 8):
        facts, picture = drawn(source, page)
        assert facts[:3] == (300, 400, False)
        shade = picture.convert("L").resize((1, 4), Image.Resampling.BOX).get_flattened_data()
        assert list(shade) == pytest.approx([32, 96, 160, 224], abs=8), page
    assert drawn(source, 8)[0][:3] == (90, 90, True)


@pytest.mark.parametrize(("broken", "pages"), [(b"", [0, 0]), (b"\xff\xd8\xff", [0, 1]), (b"\xff\xd9", [0, 1])])
def test_a_picture_that_is_damaged_on_a_page_is_noticed(source: Path, broken: bytes, pages: list[int]) -> None:
    source.write_bytes(scanned([Image.radial_gradient("L").convert("RGB")] * 2, broken=broken))
    assert [drawn(source, page)[0].damaged_pictures for page in (1, 2)] == pages


def test_a_large_tiff_is_scaled_and_a_fax_gets_square_pixels(source: Path) -> None:
    source.write_bytes(tiff([Image.new("L", (4000, 1000))]))
    assert drawn(source)[0][:2] == (2000, 500)
    source.write_bytes(tiff([Image.new("1", (1728, 1100))], dpi=(204, 98)))
    width, height = drawn(source)[0][:2]
    assert height / width == pytest.approx(1100 / 98 / (1728 / 204), rel=0.01)


def test_a_smaller_copy_of_a_page_is_no_page(source: Path) -> None:
    out = io.BytesIO()
    small = Image.new("L", (10, 10), 9)
    small.encoderinfo = {"tiffinfo": {254: 1}}  # Pillow's way to say it of one frame
    Image.new("L", (80, 80)).save(out, "TIFF", save_all=True, append_images=[small, Image.new("L", (70, 70))])
    source.write_bytes(out.getvalue())
    assert page_count(source) == 2
    assert drawn(source, 2)[0][:2] == (70, 70)


def test_a_page_that_takes_too_long_is_refused(source: Path) -> None:
    source.write_bytes(pdf(["x"], content=_ENDLESS))
    with pytest.raises(UnreadableDocument, match=r"within 0 s|fails"):
        render(source, 1, source.with_suffix(".png"), patience_s=0.2)


def test_the_renderer_ends_with_the_wish_for_its_page(source: Path) -> None:
    source.write_bytes(pdf(["x"], content=_ENDLESS))
    me = psutil.Process()
    asked: list[int] = []

    def should_stop() -> bool:
        asked.append(len(me.children()))
        return len(asked) > 2

    with pytest.raises(RenderingStopped):
        render(source, 1, source.with_suffix(".png"), should_stop=should_stop)
    assert asked[0] == 1
    assert me.children() == []
    assert not source.with_suffix(".png").exists()


def test_the_renderer_ends_with_the_process_that_started_it(source: Path) -> None:
    source.write_bytes(pdf(["x"], content=_ENDLESS))
    program = f"from pathlib import Path; from app.documents.rendering import render; render(Path({str(source)!r}), 1, Path('/dev/null'))"
    with subprocess.Popen([sys.executable, "-c", program]) as starter:
        watched = psutil.Process(starter.pid)
        while not (children := watched.children()):
            assert starter.poll() is None
            time.sleep(0.01)
        starter.send_signal(signal.SIGKILL)
    gone, _ = psutil.wait_procs(children, timeout=30)
    assert len(gone) == 1


def test_the_renderer_knows_nothing_of_our_environment(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLX_LOCAL_API_KEY", "a-secret")
    source.write_bytes(pdf(["x"], content=_ENDLESS))
    seen: list[dict[str, str]] = []

    def should_stop() -> bool:
        seen.extend(child.environ() for child in psutil.Process(os.getpid()).children())
        return bool(seen)

    with pytest.raises(RenderingStopped):
        render(source, 1, source.with_suffix(".png"), should_stop=should_stop)
    assert "PATH" in seen[0]
    assert not any(name.startswith("MLX_LOCAL") for name in seen[0])


@pytest.mark.parametrize(
    ("selection", "pages"),
    [
        (None, list(range(1, 16))),
        ("1-3,7,12-", [1, 2, 3, 7, 12, 13, 14, 15]),
        (" 2 , 1 ", [1, 2]),
        ("3,3-4,4", [3, 4]),
        ("15-15", [15]),
        ("15-", [15]),
    ],
)
def test_pages_are_chosen_by_numbers_and_ranges(selection: str | None, pages: list[int]) -> None:
    assert page_numbers(selection, 15) == pages


@pytest.mark.parametrize("selection", ["", "0", "16", "1-16", "16-", "3-2", "a", "1;2", "-3", "1,,2", "1-2-3", "٣", "9999999", "1\n,x"])
def test_what_selects_no_page_is_refused(selection: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        page_numbers(selection, 15)
    assert refused.value.param == "pages"


def test_more_pages_than_are_read_at_once_are_refused() -> None:
    assert page_numbers("2-4", 9, most=3) == [2, 3, 4]
    with pytest.raises(InvalidRequest, match="9 pages"):
        page_numbers(None, 9, most=3)
