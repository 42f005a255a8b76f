"""Every kind of picture comes out as upright RGB with the right pixels."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.pictures.reading import check_picture
from tests.pictures import BLUE, KINDS, LIMITS, RED, corners, is_near, pixels, png, saved, written

WHITE, BLACK = (255, 255, 255), (0, 0, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_is_told_by_its_content(tmp_path: Path, kind: str) -> None:
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    path = saved(tmp_path / "picture.txt", corners(), kind, **options)
    assert check_picture(path, LIMITS) == (kind, 48, 32)
    found = pixels(path)
    assert is_near(found[2, 2], BLUE)
    assert is_near(found[2, 45], RED)
    assert is_near(found[29, 2], RED)


# Where the blue quarter of a picture lies that a camera stored as EXIF's orientation says.
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(
    ("orientation", "where"),
    list(enumerate(["upper left", "upper right", "lower right", "lower left"] * 2, start=1)),
)
def test_pictures_come_out_upright(tmp_path: Path, kind: str, orientation: int, where: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = pixels(saved(tmp_path / "a", corners(), kind, exif=exif))
    assert found.shape == ((32, 48, 3) if orientation < 5 else (48, 32, 3))
    ends = {"upper left": (1, 1), "upper right": (1, -2), "lower left": (-2, 1), "lower right": (-2, -2)}
    for name, place in ends.items():
        assert is_near(found[place], BLUE if name == where else RED), name


def test_orientations_that_turn_and_flip_are_told_apart(tmp_path: Path) -> None:
    image = Image.new("RGB", (2, 1))
    image.putdata([RED, BLUE])
    for orientation, seen in ((5, [RED, BLUE]), (6, [RED, BLUE]), (7, [BLUE, RED]), (8, [BLUE, RED])):
        exif = Image.Exif()
        exif[0x0112] = orientation
        assert pixels(saved(tmp_path / "a", image, "PNG", exif=exif))[:, 0].tolist() == [list(colour) for colour in seen]


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0broken", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\x63\0\0"]
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_turns_nothing(tmp_path: Path, exif: bytes) -> None:
    assert is_near(pixels(saved(tmp_path / "a", corners(), "JPEG", exif=exif))[2, 2], BLUE)


def test_a_cmyk_jpeg_has_its_colours(tmp_path: Path) -> None:
    image = Image.new("CMYK", (32, 32), (0, 255, 255, 0))
    image.paste((255, 255, 0, 0), (0, 0, 16, 16))
    path = saved(tmp_path / "a", image, "JPEG", quality=95)
    found = pixels(path)
    assert is_near(found[4, 4], BLUE)
    assert is_near(found[28, 28], RED)


def test_a_palette_with_transparency_is_laid_onto_white(tmp_path: Path) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([*RED, *BLUE, *BLACK])
    image.putdata([0, 1, 2])
    some = pixels(saved(tmp_path / "a", image, "PNG", transparency=b"\xff\x00\x80"))[0].tolist()
    assert some == [list(RED), list(WHITE), [127, 127, 127]]
    for kind in ("PNG", "GIF"):
        assert pixels(saved(tmp_path / "a", image, kind, transparency=1))[0].tolist() == [list(RED), list(WHITE), list(BLACK)]
    assert pixels(saved(tmp_path / "a", image, "PNG"))[0].tolist() == [list(RED), list(BLUE), list(BLACK)]


@pytest.mark.parametrize(
    ("mode", "samples", "seen"),
    [
        ("RGBA", [(255, 0, 0, 255), (255, 0, 0, 0), (0, 0, 0, 128)], [RED, WHITE, (127, 127, 127)]),
        ("LA", [(90, 255), (90, 0), (0, 128)], [(90, 90, 90), WHITE, (127, 127, 127)]),
        ("L", [(0,), (90,), (255,)], [BLACK, (90, 90, 90), WHITE]),
        ("1", [(0,), (255,), (0,)], [BLACK, WHITE, BLACK]),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_alpha_and_single_bits_become_rgb(
    tmp_path: Path, kind: str, mode: str, samples: list[tuple[int, ...]], seen: list[object]
) -> None:
    image = Image.new(mode, (3, 1))
    image.putdata(samples if len(image.getbands()) > 1 else [sample for (sample,) in samples])
    assert [tuple(pixel) for pixel in pixels(saved(tmp_path / "a", image, kind))[0].tolist()] == seen


def test_webp_with_alpha_is_laid_onto_white(tmp_path: Path) -> None:
    found = pixels(saved(tmp_path / "a", Image.new("RGBA", (4, 4), (0, 0, 0, 0)), "WEBP", lossless=True))
    assert (found == 255).all()


def test_sixteen_bits_keep_the_high_byte(tmp_path: Path) -> None:
    grey = png(3, [struct.pack(">3H", 0, 0x80FF, 0xFFFF)], bits=16, colour=0)
    colours = png(2, [struct.pack(">6H", 0xFFFF, 0x12FF, 0, 0, 0x8000, 0xFF00)], bits=16)
    with_alpha = png(2, [struct.pack(">8H", 0xFFFF, 0, 0, 0xFFFF, 0, 0, 0, 0)], bits=16, colour=6)
    grey_alpha = png(2, [struct.pack(">4H", 0x4000, 0xFFFF, 0, 0)], bits=16, colour=4)
    assert pixels(written(tmp_path / "a", grey))[0].tolist() == [[0] * 3, [0x80] * 3, [255] * 3]
    assert pixels(written(tmp_path / "a", colours))[0].tolist() == [[255, 0x12, 0], [0, 0x80, 255]]
    assert pixels(written(tmp_path / "a", with_alpha))[0].tolist() == [list(RED), list(WHITE)]
    assert pixels(written(tmp_path / "a", grey_alpha))[0].tolist() == [[0x40] * 3, list(WHITE)]


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_sixteen_bit_tiff_keeps_the_high_byte_in_either_order(tmp_path: Path, order: str) -> None:
    samples = np.array([[0, 0x80FF, 0xFFFF]], dtype=f"{order}u2")
    image = Image.frombytes("I;16B" if order == ">" else "I;16", (3, 1), samples.tobytes())
    assert pixels(saved(tmp_path / "a", image, "TIFF"))[0, :, 0].tolist() == [0, 0x80, 255]


def test_the_transparent_colour_of_a_png_is_found_at_any_depth(tmp_path: Path) -> None:
    cases = [
        png(2, [b"\x1b"[:1]], bits=2, colour=0, transparent=b"\0\1"),  # samples 0 1 (2 3)
        png(2, [b"\x05"], bits=4, colour=0, transparent=b"\0\5"),
        png(2, [b"\0\5"], bits=8, colour=0, transparent=b"\0\5"),
        png(2, [b"\x00\x00\x05\x05"], bits=16, colour=0, transparent=b"\x05\x05"),
        png(2, [bytes(3) + b"\5\6\7"], transparent=b"\0\5\0\6\0\7"),
        png(2, [bytes(6) + b"\5\5\6\6\7\7"], bits=16, transparent=b"\5\5\6\6\7\7"),
        png(2, [b"\x40"], bits=1, colour=0, transparent=b"\0\1"),
    ]
    for content in cases:
        assert pixels(written(tmp_path / "a", content))[0].tolist() == [list(BLACK), list(WHITE)]


def test_wide_samples_are_stretched_over_what_they_span(tmp_path: Path) -> None:
    for samples in (
        np.array([[-1000, 0, 1000]], np.int32),
        np.array([[0.25, 0.5, 0.75]], np.float32),
        np.array([[-3e38, 0, 3e38]], np.float32),
    ):
        assert pixels(saved(tmp_path / "a", Image.fromarray(samples), "TIFF"))[0, :, 0].tolist() == [0, 128, 255]
    odd = np.array([[np.nan, 1.0, 2.0, np.inf]], np.float32)
    assert pixels(saved(tmp_path / "a", Image.fromarray(odd), "TIFF"))[0, :, 0].tolist() == [0, 0, 255, 255]
    flat = np.full((1, 4), np.nan, np.float32)
    assert (pixels(saved(tmp_path / "a", Image.fromarray(flat), "TIFF")) == 0).all()


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_is_its_first_frame(tmp_path: Path, kind: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (BLUE, RED, WHITE)]
    options = {"lossless": True} if kind == "WEBP" else {}
    path = saved(tmp_path / "a", frames[0], kind, save_all=True, append_images=frames[1:], **options)
    with Image.open(path) as image:
        assert getattr(image, "n_frames", 1) == 3
    assert (pixels(path) == BLUE).all()


def test_a_jpeg_with_more_pictures_behind_it_is_a_jpeg(tmp_path: Path) -> None:
    path = saved(tmp_path / "a", corners(), "MPO", save_all=True, append_images=[corners()])
    assert check_picture(path, LIMITS) == ("JPEG", 48, 32)
    assert is_near(pixels(path)[2, 45], RED)
