"""The command line, and the supervisor behind ``mlx-local up``.

Starts the other processes by entry point and imports none of them: no route,
no actor, no engine, no MLX. What a command needs it imports when it runs, so
that ``mlx-local --help`` answers at once.
"""
