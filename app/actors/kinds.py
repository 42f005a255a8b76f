"""Which kinds of jobs are done in steps, and who knows the steps of each: the table that the worker gives to its runner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.actors.counting import CountSteps
from app.actors.ocr import OcrSteps
from app.actors.pictures import PictureSteps
from app.actors.speech import SpeechSteps
from app.actors.transcript import TranscriptSteps
from app.actors.transcription import TranscriptionSteps
from app.jobs.record import JobKind
from app.pictures.reading import Limits
from app.scheduler.frontends import Frontends

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.actors.chains import Steps
    from app.jobs.blobs import Blobs
    from app.models.catalog import Catalog
    from app.scheduler.breadcrumb import Preparing
    from app.scheduler.gpu import GpuThread
    from app.scheduler.residency import Residency
    from app.settings import Settings

__all__ = ["known_steps"]


def known_steps(
    settings: Settings, spool: Blobs, catalog: Callable[[], Catalog], residency: Residency, gpu: GpuThread, preparing: Preparing
) -> dict[JobKind, Steps]:
    """Return who knows the steps of each kind that has any; *catalog* returns the present one."""
    hearing = TranscriptionSteps(spool, catalog, residency, gpu, preparing, settings.max_recording.total_seconds())
    limits = Limits(settings.max_picture_pixels, int(settings.max_picture))
    return {
        JobKind.CHAT: PictureSteps(spool),
        JobKind.TRANSCRIPTION: hearing,
        JobKind.TRANSLATION: hearing,
        JobKind.TRANSCRIPT: TranscriptSteps(),
        JobKind.SPEECH: SpeechSteps(spool),
        JobKind.COUNT: CountSteps(spool, catalog, Frontends(residency, settings, preparing), preparing),
        JobKind.OCR: OcrSteps(spool, limits, settings.max_pages, preparing),
    }
