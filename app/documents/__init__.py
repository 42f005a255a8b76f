"""Documents without models: what a file holds, its pages as pictures, which pages are meant, and what models say of tables.

Knows no jobs, no HTTP and no mlx. A stranger's PDF or TIFF is opened by a child
process alone (:mod:`app.documents.rendering` watches, :mod:`app.documents.renderer`
works).
"""
