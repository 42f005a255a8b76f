"""The dashboard: what runs, what waits and why, as pages for people.

Pages are written by the server; a little script of ours keeps them up to date
with what the server sends of them again. Nothing is loaded from anywhere else.
It reads and moves jobs through the gateway like every other route.
"""
