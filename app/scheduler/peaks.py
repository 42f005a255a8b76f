"""What models were seen to take, in a file that outlives the worker: next time it is known and not estimated.

Kept for each model: what its weights took, and the most that one slice took beyond
what was in memory before it. Measured weights replace the estimate. A measured slice replaces it
where it is larger: that short prompts took little says nothing of a long one. Other files under the
same name (another quantisation, another revision) begin anew. What the catalog states comes before all this.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, NonNegativeInt, TypeAdapter, ValidationError

from app.models.footprint import Footprint
from app.models.spec import ModelSpec

__all__ = ["Peak", "Peaks", "known_footprint", "load_need_bytes"]

_GREW = 1.02  # times: what is less of a change is not written


class Peak(BaseModel, frozen=True):
    """What one model was seen to take."""

    fingerprint: str  # of the files that were measured
    weights_bytes: NonNegativeInt = 0  # 0: never measured
    slice_bytes: NonNegativeInt = 0  # the most that a slice took, beyond what was there before it


_FILE = TypeAdapter(dict[str, Peak])


class Peaks:
    """Peaks of every model. One writer: the worker of the home; not thread-safe.

    Args:
        file: JSON; need not exist. One that cannot be read is begun anew, since all in it can be measured again.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            self._peaks = _FILE.validate_json(file.read_bytes())
        except (OSError, ValidationError):
            self._peaks = {}

    def recall(self, model: str, fingerprint: str) -> Peak:
        """Return what is known of these files under this name."""
        known = self._peaks.get(model)
        return known if known is not None and known.fingerprint == fingerprint else Peak(fingerprint=fingerprint)

    def record_load(self, model: str, fingerprint: str, weights_bytes: int) -> None:
        """Keep what a load took, now that it is done."""
        known = self.recall(model, fingerprint)
        if not known.weights_bytes / _GREW <= weights_bytes <= known.weights_bytes * _GREW:
            self._keep(model, known.model_copy(update={"weights_bytes": weights_bytes}))

    def record_slice(self, model: str, fingerprint: str, slice_bytes: int) -> None:
        """Keep what a slice took beyond what was there before it, if it is the most so far."""
        known = self.recall(model, fingerprint)
        if slice_bytes > known.slice_bytes * _GREW:
            self._keep(model, known.model_copy(update={"slice_bytes": slice_bytes}))

    def _keep(self, model: str, peak: Peak) -> None:
        self._peaks[model] = peak
        fresh = self._file.with_suffix(".new")
        fresh.write_bytes(_FILE.dump_json(self._peaks))
        fresh.replace(self._file)


def known_footprint(estimate: Footprint, peak: Peak) -> Footprint:
    """Return *estimate* with what was measured in its place."""
    weights = peak.weights_bytes or estimate.weights_bytes
    return replace(estimate, weights_bytes=weights, activation_bytes=max(peak.slice_bytes, estimate.activation_bytes))


def load_need_bytes(spec: ModelSpec, footprint: Footprint) -> int:
    """Return what must be free before *spec* is loaded: what its entry in the catalog says, else what its footprint says."""
    return footprint.load_need_bytes if spec.memory is None else int(spec.memory)
