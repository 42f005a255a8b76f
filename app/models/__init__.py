"""Models: the catalog, profiles and roles, where a model's files are, and the starter models."""
