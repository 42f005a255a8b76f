"""The profiles fit the machines that they are named after, by the shapes of the real models.

What Metal lets a process keep: two thirds of the memory, from 36 GB on three quarters. As logged by llama.cpp:
10922.67 MiB of 16 GB (abetlen/llama-cpp-python#687), 21845.34 of 32 (ggml-org/llama.cpp#2011), 49152 of 64
(#1870), 73728 of 96 (#3213). Newer systems allow more; the least counts here.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from app.models.catalog import Catalog, load_catalog
from app.settings import load_settings
from tests.published import PUBLISHED

GIB = 1024**3
WORKING_TOKENS = 4096  # of prompt and answer together, that must always have room
PAGE = Path(__file__).parents[2] / "docs" / "memory.md"


def working_set_bytes(ram_gib: int) -> int:
    return ram_gib * GIB * 3 // 4 if ram_gib >= 36 else ram_gib * GIB * 2 // 3


def catalog(profile: str, tmp_path: Path) -> Catalog:
    return load_catalog(load_settings(home=tmp_path, profile=profile))


def residents(catalog: Catalog) -> list[str]:
    return [model for model in catalog.roles.values() if catalog.get(model).residency == "always"]


def need_bytes(*models: str) -> int:
    """What these models need together, one of them at work: slices of different models never run at once."""
    footprints = [PUBLISHED[model].footprint for model in models]
    working = max(prints.activation_bytes + prints.one_request_bytes(WORKING_TOKENS // 2, WORKING_TOKENS // 2) for prints in footprints)
    return sum(prints.weights_bytes for prints in footprints) + working


def tokens_left(ram_gib: int, *models: str) -> int:
    """How many tokens of prompts and answers the first model can keep beside the others."""
    first = PUBLISHED[models[0]].footprint
    weights = sum(PUBLISHED[model].footprint.weights_bytes for model in models)
    spare = working_set_bytes(ram_gib) - weights - max(PUBLISHED[model].footprint.activation_bytes for model in models)
    return (spare - first.kv_bytes(1)) // (first.kv_bytes_per_token + first.prompt_bytes_per_token)


@pytest.mark.parametrize(
    ("model", "billions"),
    [("qwen3-14b", 14.8), ("qwen3.5-35b", 35), ("qwen3-embedding-0.6b", 0.6), ("gemma-3-12b", 11.77), ("paddleocr-vl-6bit", 0.9)],
)
def test_the_shapes_give_the_published_number_of_parameters(model: str, billions: float) -> None:
    assert PUBLISHED[model].parameters / 1e9 == pytest.approx(billions, rel=0.01)


@pytest.mark.parametrize("profile", ["16gb", "32gb"])
def test_idle_the_residents_take_about_three_gigabytes(profile: str, tmp_path: Path) -> None:
    chosen = residents(catalog(profile, tmp_path))
    assert len(chosen) == 2
    assert 2.5e9 <= sum(PUBLISHED[model].footprint.weights_bytes for model in chosen) <= 3.2e9


@pytest.mark.parametrize("ram_gib", [16, 24])
@pytest.mark.parametrize("role", ["ocr", "tts"])
def test_small_models_come_beside_the_residents(role: str, ram_gib: int, tmp_path: Path) -> None:
    profile = catalog("16gb", tmp_path)
    assert need_bytes(profile.roles[role], *residents(profile)) <= working_set_bytes(ram_gib)


def test_on_16_gb_speech_leaves_for_the_language_model_and_the_embedding_stays(tmp_path: Path) -> None:
    roles = catalog("16gb", tmp_path).roles
    assert need_bytes(roles["chat"], roles["embedding"], roles["asr"]) > working_set_bytes(16)
    assert need_bytes(roles["chat"], roles["embedding"]) <= working_set_bytes(16)
    assert tokens_left(16, roles["chat"], roles["embedding"]) >= 12_000


def test_on_24_gb_everything_but_a_second_language_model_stays(tmp_path: Path) -> None:
    roles = catalog("16gb", tmp_path).roles
    assert need_bytes(roles["chat"], roles["embedding"], roles["asr"], roles["ocr"]) <= working_set_bytes(24)
    assert need_bytes(roles["chat"], "gemma-3-12b") > working_set_bytes(24)


def test_on_32_gb_speech_leaves_too_and_long_conversations_have_room(tmp_path: Path) -> None:
    roles = catalog("32gb", tmp_path).roles
    assert need_bytes(roles["chat"], roles["embedding"], roles["asr"]) > working_set_bytes(32)
    assert need_bytes(roles["chat"], roles["embedding"]) <= working_set_bytes(32)
    assert tokens_left(32, roles["chat"], roles["embedding"]) >= 24_000


def test_from_36_gb_on_the_whole_profile_stays(tmp_path: Path) -> None:
    roles = catalog("32gb", tmp_path).roles
    assert need_bytes(*roles.values()) > working_set_bytes(32)
    assert need_bytes(roles["chat"], roles["embedding"], roles["asr"], roles["tts"]) <= working_set_bytes(36)


@pytest.mark.parametrize("model", [name for name in PUBLISHED if name != "qwen3.5-35b"])
def test_every_model_but_the_largest_fits_16_gb_alone(model: str) -> None:
    assert PUBLISHED[model].footprint.load_need_bytes <= working_set_bytes(16)


def test_the_page_shows_what_is_computed() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for model in PUBLISHED:
        assert row(model) in page, f"docs/memory.md should say: {row(model)}"


def row(model: str) -> str:
    needs = PUBLISHED[model].footprint
    request = needs.one_request_bytes(WORKING_TOKENS // 2, WORKING_TOKENS // 2)
    cells = [
        f"{needs.weights_bytes / 1e9:.2f}",
        f"{needs.activation_bytes / 1e9:.2f}",
        f"{needs.kv_bytes_per_token / 1e3:.1f}" if needs.layers else "-",
        f"{request / 1e9:.2f}" if needs.layers else "-",
        f"{needs.load_need_bytes / 1e9:.1f}",
    ]
    return f"| `{model}` | {' | '.join(cells)} |"
