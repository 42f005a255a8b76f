"""What is no picture, or not whole, or a bomb, is refused: by the API and the worker alike, with memory flat."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.errors import PictureTooLarge, UnreadablePicture
from app.pictures.reading import Limits, check_picture, open_picture
from tests.pictures import KINDS, LIMITS, corners, make_bomb, refusal, saved, written

_READ = """
import resource, sys
from pathlib import Path
from app.errors import InferenceError
from app.pictures.reading import Limits, check_picture, open_picture
from PIL import Image
check_picture(Path(sys.argv[1]), Limits(100, 10_000))
unit = 1 if sys.platform == "darwin" else 1024
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for read in (check_picture, open_picture):
    try:
        read(Path(sys.argv[2]), Limits(int(sys.argv[3]), 50 * 1024**2))
    except InferenceError as error:
        print(error.code)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * unit)
"""


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_file_is_refused_by_both(tmp_path: Path, kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(7).integers(0, 255, (64, 64, 3), np.uint8))
    whole = saved(tmp_path / "a", noise, kind).read_bytes()
    for share in (0.01, 0.3, 0.6, 0.95):
        assert refusal(written(tmp_path / "b", whole[: int(len(whole) * share)])) == "unreadable_image"


def test_a_truncated_progressive_jpeg_is_refused(tmp_path: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(7).integers(0, 255, (64, 64, 3), np.uint8))
    whole = saved(tmp_path / "a", noise, "JPEG", progressive=True).read_bytes()
    assert refusal(written(tmp_path / "b", whole[: len(whole) * 2 // 3])) == "unreadable_image"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"Dear reader, this is no picture." * 20,
        b'<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"><rect width="10" height="10"/></svg>',
        b"<!doctype html><html><body><img src='a.png'></body></html>",
        b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n",
        b"P6\n1 1\n255\nabc",
        b"\x89PNG\r\n\x1a\n",
        bytes(4000),
    ],
)
def test_what_is_no_picture_is_refused_whatever_its_name(tmp_path: Path, content: bytes) -> None:
    assert refusal(written(tmp_path / "picture.png", content)) == "unreadable_image"


def test_a_file_that_is_not_there_is_no_fault_of_the_picture(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        check_picture(tmp_path / "none.png", LIMITS)


def test_limits_are_the_last_that_pass(tmp_path: Path) -> None:
    path = saved(tmp_path / "a", corners(), "PNG")
    size = path.stat().st_size
    assert check_picture(path, Limits(48 * 32, size)).width_px == 48
    assert refusal(path, Limits(48 * 32 - 1, size)) == "image_too_large"
    assert refusal(path, Limits(48 * 32, size - 1)) == "image_too_large"


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_over_the_limit_are_refused_in_every_format(tmp_path: Path, kind: str) -> None:
    path = saved(tmp_path / "a", corners(), kind)
    assert refusal(path, Limits(48 * 32 - 1, 10**6)) == "image_too_large"
    assert refusal(path, Limits(10, 10**6)) == "image_too_large"


@pytest.mark.parametrize(
    ("which", "code"),
    [("200 megapixels", "image_too_large"), ("header", "image_too_large"), ("webp", "image_too_large"), ("tile", "unreadable_image")],
)
def test_bombs_are_refused_and_memory_stays_flat(tmp_path: Path, which: str, code: str) -> None:
    small = saved(tmp_path / "small", Image.new("RGB", (4, 4)), "PNG")
    bomb = make_bomb(tmp_path / "bomb", which)
    assert bomb.stat().st_size < 8 * 1024**2
    command = [sys.executable, "-c", _READ, str(small), str(bomb), str(LIMITS.max_pixels)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert said[:2] == [code, code]
    assert int(said[2]) < 64 * 1024**2


def test_a_jpeg_of_endless_scans_is_refused(tmp_path: Path) -> None:
    whole = saved(tmp_path / "a", corners(), "JPEG", progressive=True).read_bytes()
    last_scan = whole[whole.rindex(b"\xff\xda") : -2]
    assert check_picture(written(tmp_path / "b", whole[:-2] + last_scan + whole[-2:]), LIMITS).format == "JPEG"
    assert refusal(written(tmp_path / "b", whole[:-2] + last_scan * 200 + whole[-2:])) == "unreadable_image"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore")  # Pillow warns of some damage, and reads on
def test_a_damaged_picture_is_refused_by_both_or_by_neither(tmp_path: Path, kind: str) -> None:
    whole = saved(tmp_path / "a", corners(), kind).read_bytes()
    draw = random.Random(7)  # noqa: S311 - the same damage each time
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(draw.choice([1, 4, 30])):
            damaged[draw.randrange(draw.choice([60, len(damaged)]))] = draw.choice([0, 0x7F, 0xFF, draw.randrange(256)])
        path = written(tmp_path / "b", bytes(damaged))
        try:
            facts = check_picture(path, LIMITS)
        except (UnreadablePicture, PictureTooLarge):
            refusal(path)
        else:
            assert open_picture(path, LIMITS).size == (facts.width_px, facts.height_px)
