"""Loading a model that generates text, in slices."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from mlx import nn

from app.engines.checkpoint import Checkpoint
from app.engines.detokenize import Detokenizer
from app.engines.faults import LIBRARY_ERRORS
from app.engines.kv_admission import KvAdmission
from app.engines.loading import evaluate_in_slices, load_failed
from app.engines.text import TextEngine
from app.engines.vlm_library import load_lazily

__all__ = ["load_text_engine"]


def load_text_engine(
    checkpoint: Checkpoint,
    *,
    slots: int,
    eos_token_ids: frozenset[int],
    detokenizer: Callable[[], Detokenizer],
    spelled: Sequence[bytes],
    kv: KvAdmission,
) -> Iterator[TextEngine | None]:
    """Load the model in slices; the last thing yielded is its engine.

    Raises:
        ModelLoadFailed: The weights do not fit the configuration, or cannot be read.
    """
    model: nn.Module | None = None
    try:
        model = load_lazily(checkpoint.directory)
        yield None
        for _ in evaluate_in_slices(model):
            yield None
    except LIBRARY_ERRORS as error:
        model = None
        raise load_failed(checkpoint.directory.name, error) from None
    yield TextEngine(model, slots=slots, eos_token_ids=eos_token_ids, detokenizer=detokenizer, spelled=spelled, kv=kv)
