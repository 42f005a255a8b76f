"""What was said as the output of a speech job: all its sound, in the format that was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.actors.runs import Joined, Run
from app.audio.assembling import Assembly
from app.audio.encoding import CONTENT_TYPES, Encoder
from app.engines.speaking import SpeechWork, Spoken
from app.jobs.published import published_sound

if TYPE_CHECKING:
    from app.jobs.store import JobStore

__all__ = ["spoken_output"]


def spoken_output(store: JobStore, run: Run, spoken: Spoken) -> Joined:
    """Return the output of a speech that has ended: what all attempts have published, encoded.

    Raises:
        InvalidRequest: The format cannot be made.
        StoreUnavailable: Redis does not answer.
    """
    request = run.claim.request
    form = request.get("response_format") or "mp3"
    assembly = Assembly()
    with Encoder(form, spoken.rate, float(request.get("speed") or 1.0)) as encoder:
        sound = b"".join(encoder.feed(assembly.take(piece)) for piece in published_sound(store, run.claim.id)) + encoder.finish()
    work = run.choices[0].work
    read = work.text_tokens if isinstance(work, SpeechWork) else 0
    usage = {"input_tokens": read, "output_tokens": spoken.tokens, "total_tokens": read + spoken.tokens}
    return Joined(sound, usage, CONTENT_TYPES[form])
