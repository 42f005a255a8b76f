"""``mlx-local doctor``: looks at everything that may keep the stack from working, and says how to mend it.

Works with nothing running, changes nothing, and needs no network: a hub that
does not answer is a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli import terminal
from app.cli.finding import Finding, Outcome
from app.cli.terminal import FAILED, CommandError
from app.errors import InvalidSetting

if TYPE_CHECKING:
    from app.settings import Settings

__all__ = ["doctor"]

_COLOURS = {Outcome.OK: "green", Outcome.WARNING: "yellow", Outcome.FAILED: "red"}


def doctor(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check this machine, the settings and what runs, and say how to mend what is wrong. Exit code 1 if something failed."""
    findings = list(_findings())
    counts = {status: sum(finding.status is status for finding in findings) for status in Outcome}
    if as_json:
        terminal.print_json({"checks": [asdict(finding) for finding in findings], "counts": counts})
    else:
        _print(findings, counts)
    if counts[Outcome.FAILED]:
        raise typer.Exit(FAILED)


def _findings() -> Iterator[Finding]:
    from app.cli import checks_hub, checks_machine

    hub = checks_hub.begin_check_hub()
    machine = (
        checks_machine.check_python(),
        checks_machine.check_mlx(),
        checks_machine.check_memory(),
        checks_machine.check_video_memory(),
        checks_machine.check_compiler(),
        checks_machine.check_blas(),
    )
    yield from (finding for finding in machine if finding is not None)
    try:
        settings = terminal.settings()
    except InvalidSetting as error:
        yield Finding.failed("settings", error.message, "Mend that value; the rest is checked when the settings can be read.")
    else:
        yield Finding.ok("settings", f"home {settings.home}, profile {settings.profile}")
        yield from _of_settings(settings)
    yield hub()


def _of_settings(settings: Settings) -> Iterator[Finding]:
    from app.cli import checks_api, checks_files, checks_keys, checks_service, checks_workers

    key_file = checks_files.check_key_file(settings)
    yield from (key_file,) if key_file is not None else ()
    checks: dict[str, Callable[[Settings], Iterable[Finding]]] = {
        "keys": checks_keys.check_keys,
        "folders": checks_files.check_folders,
        "disks": checks_files.check_disks,
        "ports": checks_service.check_ports,
        "locks": lambda settings: (checks_service.check_processes(settings),),
        "services": checks_service.check_services,
        "redis": checks_service.check_redis,
        "workers": checks_workers.check_workers,
        "api of the jobs": checks_api.check_api,
        "catalog": lambda settings: (checks_files.check_catalog(settings),),
        "models": checks_files.check_models,
    }
    unused = {"keys", "ports"} if settings.api_url else set()  # of an API, which the home of another machine's worker has not
    for name, check in checks.items():
        if name in unused:
            continue
        try:
            yield from check(settings)
        except (CommandError, OSError) as error:  # such as a lock that belongs to another user
            yield Finding.failed(name, f"could not be checked: {error}", "Mend the rights of that file; `doctor` without sudo should do.")


def _print(findings: list[Finding], counts: dict[Outcome, int]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in ("CHECK", "STATUS", "FOUND"):
        table.add_column(heading, no_wrap=heading != "FOUND", overflow="fold")
    for finding in findings:
        found = finding.found + (f"\n-> {finding.mend}" if finding.mend else "")
        table.add_row(finding.name, Text(finding.status, _COLOURS[finding.status]), Text(found))
    terminal.console().print(table)
    terminal.say()
    wrong = [
        f"{counts[status]} {word}" for status, word in ((Outcome.FAILED, "failed"), (Outcome.WARNING, "to be warned of")) if counts[status]
    ]
    terminal.say(f"Of {len(findings)} checks, {' and '.join(wrong)}." if wrong else f"All {len(findings)} checks are well.")
