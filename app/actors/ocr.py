"""How a document becomes text: each page is drawn, shown to the model, and put in its place.

A picture, or a document of one page, is an ordinary job. Of several pages each
has a child, few of them at a time, so that others' requests pass between; a
child draws its own page and lets go of it when it is read, and what it read is
kept, whatever happens to the worker afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import CancelledError
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.actors.pages import blank_page, damage_warnings, failed_page, ocr_body, page_facts, page_of, read_page
from app.actors.runs import Joined, Run
from app.documents.blank import is_blank
from app.documents.kinds import kind_of
from app.documents.ranges import page_numbers
from app.documents.rendering import Rendered, RenderingStopped, page_count, render
from app.errors import EngineFailed
from app.jobs.chains import Child, Children, Plan
from app.jobs.record import JobKind
from app.pictures.reading import Limits, moves, open_picture

if TYPE_CHECKING:
    from app.engines.protocols import Finished
    from app.jobs.blobs import Blobs
    from app.jobs.claims import Claimed
    from app.scheduler.breadcrumb import Preparing

__all__ = ["OcrSteps", "read_output"]

_PAGES_AT_ONCE = 4  # one is read, the next ones are drawn meanwhile
_OF_A_PAGE = ("task", "prompt", "max_tokens", "keep_alive")  # what each is asked with


class OcrSteps:
    """The steps of documents.

    Args:
        spool: Where the documents are.
        limits: Of pictures.
        most_pages: More of one document are refused.
        preparing: Told whose picture is being decoded.
    """

    def __init__(self, spool: Blobs, limits: Limits, most_pages: int, preparing: Preparing) -> None:
        self._preparing = preparing
        self._spool = spool
        self._limits = limits
        self._most_pages = most_pages

    def plan(self, run: Run) -> Plan | Joined | None:
        """Count the pages of a document; draw the one of a child, or the only one.

        Raises:
            UnreadableDocument: The document or a page cannot be used; of a picture UnreadablePicture, PictureTooLarge.
            InvalidRequest: There is no such page, or there are too many.
            CancelledError: The run is ended.
        """
        claim = run.claim
        (document,) = claim.blobs
        if _is_page(claim):
            return self._show(run, document, claim.request["page"])
        path = self._spool.path(document)
        if kind_of(path) is None:
            with self._preparing.naming(run.work_id):
                blank, moving = is_blank(open_picture(path, self._limits)), moves(path, self._limits)
            warnings = ["The picture moves: its first frame alone was read."] if moving else []
            return self._ask(run, 1, document, warnings, blank=blank)
        pages = page_numbers(claim.request.get("pages"), page_count(path), self._most_pages)
        if len(pages) == 1:
            return self._show(run, document, pages[0])
        children = tuple(
            Child(
                kind=JobKind.OCR,
                model=claim.model,
                request={**_asked(claim.request), "page": page},
                blobs=(document,),
                seed=claim.seed,
            )
            for page in pages
        )
        return Plan(children=children, window=_PAGES_AT_ONCE, on_failure="keep", unit="pages", total=len(pages))

    def join(self, run: Run, children: Children) -> Joined:
        """Put the pages together. One that could not be read is there with its reason, and costs the others nothing.

        Raises:
            EngineFailed: No page could be read.
        """
        claim = run.claim
        ended = list(children)
        if not any(child.output for child in ended):
            reason = next((child.error.message for child in ended if child.error is not None), "they were canceled")
            message = f"None of the {len(ended)} pages could be read: {reason}"
            raise EngineFailed(message)
        numbers = page_numbers(claim.request.get("pages"), page_count(self._spool.path(claim.blobs[0])), self._most_pages)
        read = (
            read_page(child.output) if child.output is not None else failed_page(number, child.error)
            for number, child in zip(numbers, ended, strict=True)
        )
        return ocr_body(read, claim.model, claim.request)

    def _show(self, run: Run, document: str, page: int) -> Joined | None:
        """Draw a page for the model, unless it has nothing on it."""
        claim = run.claim
        drawn: list[Rendered] = []

        def write(target: Path) -> None:
            drawn.append(render(self._spool.path(document), page, target, should_stop=run.ended.done))

        try:
            picture = self._spool.put_written(write, holder=claim.id)
        except RenderingStopped:
            raise CancelledError from None
        if drawn[0].blank:
            self._spool.drop(claim.id, picture)
        return self._ask(run, page, picture, damage_warnings(page, drawn[0].damaged_pictures), blank=drawn[0].blank)

    def _ask(self, run: Run, page: int, picture: str, warnings: list[str], *, blank: bool) -> Joined | None:
        """Have the model read a page, unless it has nothing on it."""
        if blank:
            return _output(run, *blank_page(page, warnings))
        image = {"blob": picture, "path": str(self._spool.path(picture))}
        run.request = {**_asked(run.claim.request), "page": page, "image": image, "warnings": warnings}
        return None


def read_output(spool: Blobs, run: Run, finished: Finished) -> Joined:
    """Return the output of a job whose page was read: a whole answer, or of a parent's page what the parent needs."""
    picture = str(run.request["image"]["blob"])
    if picture not in run.claim.blobs:
        spool.drop(run.claim.id, picture)  # a drawn page is nobody's any more; the next sweep takes it
    return _output(run, *page_of(run, finished))


def _output(run: Run, page: dict[str, Any], spent: dict[str, int]) -> Joined:
    claim = run.claim
    return page_facts(page, spent) if _is_page(claim) else ocr_body([(page, spent)], claim.model, claim.request)


def _is_page(claim: Claimed) -> bool:
    """Whether a job is a page of a document; a whole one may be somebody's child too."""
    return "page" in claim.request


def _asked(request: Mapping[str, Any]) -> dict[str, Any]:
    return {name: request[name] for name in _OF_A_PAGE if name in request}
