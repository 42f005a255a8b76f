"""Correcting a transcript without the model that does it: what it is asked, piece by piece, and whether its answer may stand.

Pure: texts in, texts out. No model, no store, no clock. Who asks the model is
:mod:`app.actors.transcript`.
"""
