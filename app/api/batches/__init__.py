"""OpenAI's Batch API: requests that come as the lines of a file, each a job of its own, answered in another file.

``input.py`` finds the lines, ``lines.py`` makes a job of one, ``results.py`` writes what came of it; ``clerk.py`` sees to one
batch and ``office.py`` to all of them. Whatever a clerk knows is in the job store, so that any other may go on.
"""
