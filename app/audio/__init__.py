"""Sound without models: containers, resampling, silence, cutting, encoding, subtitles, languages.

Inside, decoded sound is raw little-endian int16, mono, 16 kHz, without header,
in a file on disk (a *pcm file*): 32,000 bytes a second, found by offset, so
that a recording of hours fills no memory.

Nothing here knows jobs, HTTP or a model. PyAV is imported where it is used:
the API imports these modules, and must start fast and stay small.
"""

__all__: list[str] = []
