"""What the codec of a voice keeps and needs: the part that turns tokens into sound, and a recording into tokens. Pure.

Its configuration lies in a folder of its own, ``speech_tokenizer``. Where that is
not at hand, the figures are those of the one that all published Qwen3-TTS have.
It stays in float32 whatever the rest of the model is in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from app.models.attention import KvLayers

__all__ = ["LONGEST_REFERENCE_S", "PIECE_SAMPLES", "codec_config", "codec_layers", "codec_slice_bytes", "codec_state_bytes"]

LONGEST_REFERENCE_S = 30
"""Seconds of a recording that a voice may be cloned from: all of it is listened to in one slice."""
PIECE_SAMPLES = 24_000
"""Samples that the first layers listen to at once: a second."""

_FLOAT_BYTES = 4
_TOKENS = 8  # of one slice
_RATE = 24_000
_ALIVE = 4  # arrays of the widest layer at once: what goes in, its activation, what comes out, and what is added
_UNSTATED: Mapping[str, int] = {"num_hidden_layers": 8, "num_key_value_heads": 16, "head_dim": 64, "decoder_dim": 1536, "latent_dim": 1024}
_UPSAMPLE_RATES = (8, 5, 4, 3)
_FILTERS = 64
_UNFOLDED = 24  # numbers for each filter and sample of a piece, as measured: convolutions are unfolded into products
_SPECTRUM_BYTES = 100  # for each sample of a recording: spectra, and what the speaker is told by


def codec_config(directory: Path) -> Mapping[str, Any]:
    """Return the configuration of the codec of the model in *directory*, empty where it has none that can be read."""
    try:
        config = json.loads((directory / "speech_tokenizer" / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, Mapping) else {}


def codec_layers(config: Mapping[str, Any], float_bytes: int) -> KvLayers:
    """Return the layers that keep keys and values of each token, counted in numbers of *float_bytes*."""
    values = 2 * _figure(config, "num_key_value_heads") * _figure(config, "head_dim")
    return KvLayers(_figure(config, "num_hidden_layers"), values * _FLOAT_BYTES // float_bytes)


def codec_state_bytes(config: Mapping[str, Any], *, clones: bool) -> int:
    """Return a bound on what is kept of a request beside: the recording, and what convolutions remember of the sound so far.

    They are seven places wide, nine apart at most, and what they remember shares its memory with the whole of what they
    saw last: in each block three times the sound of a token. Of the published codec that was 7.6 MB, where this says 9.5.
    """
    recording = LONGEST_REFERENCE_S * _RATE * _FLOAT_BYTES if clones else 0
    places = 6 * (3 * _figure(config, "latent_dim") + 16 * _figure(config, "decoder_dim"))
    return recording + _FLOAT_BYTES * (places + 3 * len(_rates(config)) * _sound_values(config))


def codec_slice_bytes(config: Mapping[str, Any], *, clones: bool) -> int:
    """Return what a slice needs: of a few tokens the last layer, or of a recording the first."""
    made = _TOKENS * _sound_values(config) * _FLOAT_BYTES * _ALIVE
    if not clones:
        return made
    filters = int(_part(config, "encoder_config").get("num_filters", _FILTERS))
    return max(made, PIECE_SAMPLES * filters * _FLOAT_BYTES * _UNFOLDED + LONGEST_REFERENCE_S * _RATE * _SPECTRUM_BYTES)


def _rates(config: Mapping[str, Any]) -> Sequence[int]:
    rates: Sequence[int] = _part(config, "decoder_config").get("upsample_rates", _UPSAMPLE_RATES)
    return rates


def _sound_values(config: Mapping[str, Any]) -> int:
    """Return how many numbers the last block holds of one token: its samples, in as many channels as are left."""
    return int(config.get("decode_upsample_rate", 1920)) * (_figure(config, "decoder_dim") >> len(_rates(config)))


def _part(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = config.get(name)
    return part if isinstance(part, Mapping) else {}


def _figure(config: Mapping[str, Any], name: str) -> int:
    return int(_part(config, "decoder_config").get(name, _UNSTATED[name]))
