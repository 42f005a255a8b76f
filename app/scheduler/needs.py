"""What each model needs, from its files, from what was seen of it before, and from its entry in the catalog."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from app.log import get_logger
from app.models.footprint import read_footprint
from app.models.spec import ModelSpec
from app.models.tensors import fingerprint
from app.scheduler.books import Need
from app.scheduler.peaks import Peaks, known_footprint, load_need_bytes

__all__ = ["Needs"]

log = get_logger("worker.needs")

_UNSTATED_CONTEXT = 4096


class Needs:
    """Needs of models on disk. For one thread.

    Args:
        peaks: What models were seen to take.
        cpu: Whether MLX runs on the CPU here.
    """

    def __init__(self, peaks: Peaks, *, cpu: bool) -> None:
        self._peaks = peaks
        self._cpu = cpu
        self._known: dict[tuple[ModelSpec, Path], tuple[int, Need]] = {}

    def of(self, spec: ModelSpec, directory: Path) -> Need:
        """Return what *spec* needs, whose files are in *directory*.

        A folder that cannot be read needs nothing: its load fails, and says why.
        """
        changed = _changed_at(directory)
        known = self._known.get((spec, directory))
        if known is not None and known[0] == changed:
            return known[1]
        need = self._read(spec, directory)
        self._known[spec, directory] = changed, need
        return need

    def saw(self, model: str, weights_bytes: int, slice_bytes: int) -> None:
        """Note what the weights of a model took, and the most that a slice of it did."""
        for key, (_, need) in list(self._known.items()):
            if key[0].id == model and need.fingerprint:
                before = self._peaks.recall(model, need.fingerprint)
                self._peaks.record_load(model, need.fingerprint, weights_bytes)
                self._peaks.record_slice(model, need.fingerprint, slice_bytes)
                if self._peaks.recall(model, need.fingerprint) != before:
                    del self._known[key]

    def _read(self, spec: ModelSpec, directory: Path) -> Need:
        try:
            mark = fingerprint(directory)
            estimate = read_footprint(directory, spec.tasks, spec.context or _UNSTATED_CONTEXT, cpu=self._cpu)
        except (OSError, ValueError, json.JSONDecodeError) as error:
            log.warning("model.unmeasured", model=spec.id, reason=type(error).__name__)
            return Need(int(spec.memory or 0))
        found = known_footprint(estimate, self._peaks.recall(spec.id, mark))
        need = Need(load_need_bytes(spec, found), found.weights_bytes, found.activation_bytes, mark)
        # A catalog's own word is about the whole: the slice is a part of it.
        return need if spec.memory is None else replace(need, slice_bytes=min(need.slice_bytes, need.load_bytes))


def _changed_at(directory: Path) -> int:
    try:
        return (directory / "config.json").stat().st_mtime_ns
    except OSError:
        return 0
