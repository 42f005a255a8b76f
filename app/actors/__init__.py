"""The worker: Dramatiq's consumers and the actor, joined with scheduler, jobs and engines."""
