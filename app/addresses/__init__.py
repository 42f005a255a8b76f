"""Addresses that strangers choose: which of them may be asked, and asking them so that the judgement holds.

Knows nothing of what is fetched or sent. No proxy, password or cookie of this machine is ever used.
"""
