"""OpenAI's Responses API: a translation to jobs of kind ``chat`` and back, with no inference of its own.

A response is its job: its id is the job's, its record is the job's record, and
what the chat kind has no use for lies in the job's request under one key.
"""
