"""The transcribe folder: drop a recording, read its corrected transcript.

A thin client of the API: it watches folders, submits each recording as a job
of kind ``transcript`` over HTTP, and writes what comes of it beside the
recording. Of the rest of the software it knows settings, errors, logs and the
machine, and how subtitles are written; no model, no job store, no route.

What it promises: any part may die at any time, and at the end every recording
has one pair of results and lies in the archive, and no recording was
transcribed twice. It does not promise this for two daemons of two homes that
watch one folder.
"""
