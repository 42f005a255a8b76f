"""Pictures of mlx-vlm's models on the GPU thread: each is encoded once, alone, and kept for the next question about it.

The library keeps features too, but of some families only half of them: what
Qwen3-VL's middle layers say (deepstack) is left out, and answers change. So the
tower itself is replaced by one that hands out what it made before. Private names
of the models are known here; tests/conformance/test_seeing.py tells when one moves.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Final

import mlx.core as mx
from mlx import nn
from mlx.utils import tree_flatten

from app.engines.seeing import SEEING, Picture

__all__ = ["Sight", "pictures_hash", "sight_of"]

_TOWERS: Final = ("vision_tower", "visual")
_KEPT_BYTES: Final = 128 * 1024**2


def sight_of(model: nn.Module) -> Sight | None:
    """Return the sight of *model*, put where its vision tower was; None where we know none of it."""
    for name in _TOWERS if getattr(model.config, "model_type", None) in SEEING else ():
        tower = getattr(model, name, None)
        if isinstance(tower, nn.Module):
            sight = Sight(tower, marks=(getattr(model.config, "video_token_id", None), getattr(model.config, "image_token_id", None)))
            setattr(model, name, sight)
            return sight
    return None


def pictures_hash(pictures: Sequence[Picture]) -> int:
    """Return what tells a prompt with these pictures from one with others; 0 where there are none."""
    if not pictures:
        return 0
    digest = hashlib.sha256("\n".join(picture.key for picture in pictures).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1 or 1


class Sight:
    """Stands where a model's vision tower stood.

    Args:
        tower: The model's own.
        kept_bytes: Of features that nobody needs just now.
        marks: The token of frames of a video, and that of pictures.

    Attributes:
        encoded: How many pictures, and pairs of frames, went through the tower.
    """

    def __init__(self, tower: nn.Module, kept_bytes: int = _KEPT_BYTES, marks: tuple[Any, Any] = (None, None)) -> None:
        self._tower = tower
        self._video_mark, self._picture_mark = marks
        self._kept_bytes = kept_bytes
        self._features: OrderedDict[str, tuple[Any, int]] = OrderedDict()  # the longest unused first
        self._shown: Sequence[Picture] = ()
        self.encoded = 0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - models look at the tower's float type
        return getattr(self._tower, name)

    def __call__(self, *_pixels: object, **_more: object) -> Any:  # noqa: ANN401 - as the tower answers
        """Return the features of the pictures that are shown, as the tower would."""
        made = [self._features[picture.key][0] for picture in self._shown]
        if not isinstance(made[0], tuple):
            return mx.concatenate(made)
        deeper = [layers for _, layers in made]
        together = [mx.concatenate(list(layer)) for layer in zip(*deeper, strict=True)] if isinstance(deeper[0], list) else deeper[0]
        return mx.concatenate([features for features, _ in made]), together

    def knows(self, picture: Picture) -> bool:
        """Return whether *picture* need not be encoded."""
        return picture.key in self._features

    def encode(self, picture: Picture) -> None:
        """Encode *picture*: one slice, which nothing can interrupt."""
        grid = mx.array([picture.grid])
        pixels = mx.array(picture.take_pixels()).astype(self._dtype())
        made = self._tower(pixels, grid, output_hidden_states=False)
        arrays = _arrays(made)
        mx.eval(arrays)
        self._features[picture.key] = (made, sum(array.nbytes for array in arrays))
        self.encoded += 1

    def embed(self, model: nn.Module, tokens: Sequence[int], pictures: Sequence[Picture]) -> dict[str, Any]:
        """Return what the batch generator is told of a prompt whose *pictures* are all known."""
        self._shown = pictures
        try:
            # Frames are pictures to the model but for their mark. Of videos as such the library takes either them or pictures,
            # and all frames of one at once.
            named = [self._picture_mark if token == self._video_mark else token for token in tokens] if pictures else list(tokens)
            ids, grids = mx.array([named]), mx.array([picture.grid for picture in pictures]) if pictures else None
            given = {"pixel_values": mx.zeros((1,)), "image_grid_thw": grids} if pictures else {}
            features = model.get_input_embeddings(ids, **given).to_dict()
        finally:
            self._shown = ()
        for picture in pictures:
            self._features.move_to_end(picture.key)
        said = {name: value for name, value in features.items() if value is not None}
        if "position_ids" not in said:
            # Such a model keeps in itself where the tokens of one prompt stand, and forgets it where that is read in pieces, or
            # goes on from a prefix. Said beside the embeddings, it is cut as they are.
            said["position_ids"], said["rope_deltas"] = model.language_model.get_rope_index(ids, grids, None, None)
        return said

    def forget(self, needed: Sequence[Picture] = ()) -> None:
        """Keep what is *needed*, and of the rest what was used last, as far as it fits."""
        keep = {picture.key for picture in needed}
        total = sum(size for _, size in self._features.values())
        for key in [key for key in self._features if key not in keep]:
            if total <= self._kept_bytes:
                return
            total -= self._features.pop(key)[1]

    def close(self) -> None:
        """Let go of the tower and of all that it made."""
        self._features.clear()
        del self._tower

    def _dtype(self) -> mx.Dtype:
        return next(weight.dtype for weight in _arrays(self._tower.parameters()) if mx.issubdtype(weight.dtype, mx.floating))


def _arrays(tree: Any) -> list[mx.array]:  # noqa: ANN401 - as the library nests them
    flat: list[tuple[str, Any]] = tree_flatten(tree)  # type: ignore[assignment]  # a list unless it is given another destination
    return [array for _, array in flat if isinstance(array, mx.array)]
