"""Webhooks: what callers may ask for, and telling receivers what became of their jobs.

What is to be told is made by the moves of jobs (``app/jobs/webhooks.lua``); any API process sends it.
"""
