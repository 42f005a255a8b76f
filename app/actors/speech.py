"""What a speech job is around its engine: the voice that it speaks like before, and all its sound in the format asked for after."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.actors.recordings import decoded
from app.actors.runs import Joined, Run
from app.audio.assembling import Assembly
from app.audio.decoding import UnreadableAudio
from app.audio.encoding import CONTENT_TYPES, Encoder
from app.engines.speaking import SpeechWork, Spoken
from app.jobs.published import published_sound

if TYPE_CHECKING:
    from app.jobs.blobs import Blobs
    from app.jobs.chains import Children
    from app.jobs.store import JobStore

__all__ = ["SpeechSteps", "spoken_output"]

_LONGEST_REFERENCE_S = 600.0  # that is decoded at all; how much of it a voice is cloned from is the model's to say


class SpeechSteps:
    """The step before a speech: its reference recording becomes sound that the model can hear.

    Args:
        spool: Where the recordings are.
    """

    def __init__(self, spool: Blobs) -> None:
        self._spool = spool

    def plan(self, run: Run) -> None:
        """Decode the recording, where there is one.

        Raises:
            UnreadableAudio: It cannot be decoded.
            CancelledError: The run is ended.
        """
        # A path is what the engine takes, and never what a caller says.
        reference = None
        for recording in run.claim.blobs:
            try:
                reference = self._spool.path(decoded(self._spool, run, recording, longest_s=_LONGEST_REFERENCE_S))
            except UnreadableAudio as error:
                error.param = "ref_audio"
                raise
        run.request = {**run.claim.request, "ref_audio": reference}

    def join(self, run: Run, children: Children) -> Joined:
        """Never asked: a speech plans no children."""
        msg = f"{run.claim.id} is a speech, which has no children ({len(children)})."
        raise TypeError(msg)


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
