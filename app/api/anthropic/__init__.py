"""Anthropic's Messages API, translated to chats and back.

A request becomes the body of a chat (``requests.py``, ``translation.py``), which
is checked, run and kept like any other; its answer becomes a message, whole
(``answers.py``) or streamed (``events.py``). Nothing is decided here that a
chat would not decide.
"""
