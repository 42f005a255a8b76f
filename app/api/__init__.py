"""The HTTP face: routes that translate between HTTP and jobs, and nothing else.

No model is touched here: a request becomes a job record, an answer is read
from one. Imports neither mlx nor an engine nor the scheduler.
"""
