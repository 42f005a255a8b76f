"""Work on strangers' files in processes of their own: what a file does to a library in C cannot be bounded from within.

Knows no kind of file, no jobs and no HTTP: whoever starts a child says what it does.
"""
