"""Tiny models with random weights, on disk in the layout of the real ones.

They load through the same libraries, tokenizers and templates as the models
they are named after, in milliseconds. They prove loading, shapes, batching and
plumbing; what they say means nothing. Building one needs mlx and no network.

``python -m tests.tiny OUT NAME...`` builds; tests ask the ``tiny_model`` fixture
of :mod:`tests.tiny.fixtures`, which builds in a child process. A name is a family
with a precision after a dash: ``qwen3-f32``, ``qwen3-4bit``; alone it is bfloat16.
Greedy answers are bit-stable in f32 alone: use that to compare batched with single.
"""
