"""Measurements of the running software, each against something else in the same run. Nothing of the product imports it."""
