"""mlx-local-inference: local AI inference on MLX as a durable job system.

The packages below import downwards only: ``cli``, then ``api`` and
``actors``, then ``scheduler``, ``jobs``, ``engines``, ``audio`` and ``models``,
and at the bottom the modules of this folder. ARCHITECTURE.md says why.
"""

__version__ = "0.1.0"
