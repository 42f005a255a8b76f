"""Jobs: the record, the store, the broker, events and rescue.

Imported by the API as well as by the worker, so nothing here may reach mlx,
an engine or the scheduler.
"""
