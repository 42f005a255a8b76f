"""Engines: the only code that touches mlx, one adapter per library.

``protocols`` says what the scheduler may expect of any engine and imports no
mlx; every other module here is imported by the worker alone.
"""
