"""``mlx-local keys``: make API keys, list them, revoke them. In the home's file, so it works while nothing runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from app.cli import terminal
from app.cli.terminal import CommandError
from app.named_keys import Scope

if TYPE_CHECKING:
    from app.settings import Settings

__all__ = ["app"]

app = typer.Typer(help="Make, list and revoke API keys. Works while nothing runs.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the key, such as that of the program or machine it is for.", metavar="NAME")]
_SCOPES = "inference: ask models; admin: move models too, and see all jobs; worker: for a worker of another machine, and nothing else."
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def create(
    name: Name,
    scope: Annotated[Scope, typer.Option(help=_SCOPES)] = Scope.INFERENCE,
    *,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it: the only time that it is shown. Servers that run know it at once."""
    from app.named_keys import NamedKeys

    settings = terminal.settings()
    keys = NamedKeys(settings.home)
    first = not keys.all() and settings.api_key is None
    key = keys.create(name, scope)
    if as_json:
        terminal.print_json({"name": name, "scope": scope, "key": key})
        return
    terminal.say(key)
    terminal.note("It is not shown again. Clients send it as `Authorization: Bearer KEY` or `x-api-key: KEY`.")
    if first:
        terminal.note("This is the first key: from now on every request needs one. The commands of this home have their own.")


@app.command("list")
def list_keys(*, as_json: AsJson = False) -> None:
    """List the keys: names, scopes, and when they were made."""
    from app.named_keys import NamedKeys

    settings = terminal.settings()
    keys = NamedKeys(settings.home).all()
    if as_json:
        terminal.print_json([key.model_dump(mode="json", exclude={"sha256"}) for key in keys])
        return
    for key in keys:
        terminal.say(f"{key.name:<24}{key.scope:<12}{key.created_at.astimezone().isoformat(sep=' ', timespec='seconds')}")
    if not keys:
        terminal.say("No keys." if settings.api_key is None else "No keys but that of MLX_LOCAL_API_KEY.")


@app.command()
def revoke(name: Name) -> None:
    """Revoke a key. Servers that run refuse it at once; its jobs and files stay."""
    from app.named_keys import NamedKeys

    settings = terminal.settings()
    keys = NamedKeys(settings.home)
    if not keys.revoke(name):
        msg = f"There is no key named {name!r}; `mlx-local keys list` has them all."
        raise CommandError(msg)
    terminal.say(f"{name} is revoked.")
    if not keys.all() and settings.api_key is None:
        terminal.note(_without_keys(settings))


def _without_keys(settings: Settings) -> str:
    from app.exposure import is_loopback

    if is_loopback(settings.host):
        return "It was the last key: this machine's programs need none from now on."
    return f"It was the last key: nobody but the commands of this home is let in, and none starts to listen on {settings.host} again."
