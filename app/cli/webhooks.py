"""``mlx-local webhooks``: the secret that webhooks are signed with. In the home's file, so it works while nothing runs."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli import terminal
from app.cli.terminal import CommandError

__all__ = ["app"]

app = typer.Typer(help="Show or change the secret that webhooks are signed with.", no_args_is_help=True)


@app.command()
def secret(
    *,
    rotate: Annotated[bool, typer.Option("--rotate", help="Make a new one. The one before it signs too, until the next rotation.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the secret by which receivers know that a webhook is ours. Servers that run know a new one at once."""
    from app.webhook_secret import rotate_webhook_secret, webhook_secret_path, webhook_secrets

    home = terminal.settings().home
    try:
        text = rotate_webhook_secret(home) if rotate else webhook_secrets(home)[0]
    except (OSError, UnicodeDecodeError, IndexError) as error:
        msg = f"{webhook_secret_path(home)} cannot be used ({error})."
        raise CommandError(msg) from None
    if as_json:
        terminal.print_json({"secret": text})
    else:
        terminal.say(text)
