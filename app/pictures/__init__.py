"""Pictures without models: reading and checking them, taking them out of data URIs, fetching them from addresses.

A picture stays the bytes that came, in a file; :mod:`app.pictures.reading`
turns such a file into pixels, for the API and the worker alike.

Nothing here knows jobs, HTTP routes or a model. Pillow and httpx are imported
where they are used: the API imports these modules, and must start fast.
"""

__all__: list[str] = []
