"""The weights of silero-vad's package -> a model folder in the hub's layout. numpy alone, no mlx.

Of its two halves the package has the one for 16 kHz in this format, and that is the
one that is used here.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

__all__ = ["convert_silero"]

_CONVOLUTION_AXES = 3


def convert_silero(source: Path, out: Path) -> None:
    """Convert the file *source* into the folder *out*.

    Raises:
        KeyError: It is no such file.
    """
    stored = load_file(source)
    # torch keeps a convolution's width last, mlx its channels.
    weights = {
        f"vad_16k.{name}": np.ascontiguousarray(values.transpose(0, 2, 1)) if values.ndim == _CONVOLUTION_AXES else values
        for name, values in stored.items()
        if not name.startswith("lstm_cell.")
    }
    weights["vad_16k.lstm.Wx"] = stored["lstm_cell.weight_ih"]
    weights["vad_16k.lstm.Wh"] = stored["lstm_cell.weight_hh"]
    weights["vad_16k.lstm.bias"] = stored["lstm_cell.bias_ih"] + stored["lstm_cell.bias_hh"]
    save_file(weights, out / "model.safetensors", metadata={"format": "mlx"})
    config = {"model_type": "silero_vad", "architecture": "silero_vad"}
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
