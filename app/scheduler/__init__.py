"""The scheduler: which models are in memory, and the one thread that runs them."""
