"""``mlx-local status``: which processes live, what is in memory, what waits. Works while the API is down."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import terminal
from app.cli.recordings import recordings_in_lines
from app.cli.store_access import job_store
from app.cli.terminal import NOT_RUNNING, CommandError
from app.folder_state import recordings_standing
from app.power_source import LOW_CHARGE_PERCENT, battery_charge

if TYPE_CHECKING:
    from app.jobs.store import JobStore
    from app.settings import Settings

__all__ = ["status"]

_GB = 1e9
_OF_A_HEAD = {"id", "model", "lane", "created_at", "waiting_for"}


def status(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say what runs, what is in memory, what waits, and where each dropped recording stands. Exit code 3 if nothing runs."""
    settings = terminal.settings()
    facts = _facts(settings)
    if as_json:
        terminal.print_json(facts)
    else:
        _print(settings, facts)
    if not facts["processes"] and facts["store"] is None:
        raise typer.Exit(NOT_RUNNING)


def _facts(settings: Settings) -> dict[str, Any]:
    from app.cli.ownership import home_owner, living
    from app.cli.programs import get_status

    processes = living(settings.run_dir)
    owner = home_owner(settings.run_dir)
    facts: dict[str, Any] = {
        "home": str(settings.home),
        "owner": {"pid": owner.pid, "since": owner.since} if owner else None,
        "services": _services(settings),
        "processes": {name: {"pid": holder.pid, "since": holder.since} for name, holder in processes.items()},
        "api": {
            name: {"port": port, "answers": get_status(settings, port, "/health") is not None}
            for name, port in (("api", settings.port), ("audio", settings.audio_port))
        },
        "battery_percent": battery_charge(),
        "recordings": recordings_standing(settings),
        "store": None,
    }
    try:
        with job_store(settings) as store:
            facts["store"] = {
                "jobs": {state.value: count for state, count in store.count_by_state().items()},
                "children": {state.value: count for state, count in store.count_by_state(children=True).items()},
                "queues": {name: length for name, length in store.queues().items() if length},
                "waiting": _waiting(store),
                "workers": _workers(store),
                "models": {model: state.model_dump(mode="json") for model, state in store.model_states().items()},
            }
    except CommandError as error:
        if error.exit_code != NOT_RUNNING:
            raise
        facts["store_error"] = error.message
    return facts


def _workers(store: JobStore) -> list[dict[str, Any]]:
    from app.jobs.workers import troubles

    workers = store.workers()
    return [worker.model_dump(mode="json", exclude={"fetches"}) | {"troubles": troubles(worker, workers)} for worker in workers]


def _services(settings: Settings) -> dict[str, Any] | None:
    """Return who supervises the services of this home, and how each is; None where none are installed."""
    from app.cli.services.installed import find_installed

    installed = find_installed(settings)
    return None if installed is None else {"system": installed.system.name, "states": dict(installed.states())}


def _waiting(store: JobStore) -> list[dict[str, Any]]:
    """Return the queues that have jobs, with what the first of each waits for, and since when."""
    heads = store.backlogs()
    jobs = store.find_many([head.job_id for head in heads.values()])
    return [
        {"queue": name, "jobs": head.length, **jobs[head.job_id].model_dump(mode="json", include=_OF_A_HEAD)}
        for name, head in heads.items()
        if head.job_id in jobs  # it may have ended meanwhile, and been forgotten
    ]


def _print(settings: Settings, facts: dict[str, Any]) -> None:
    say = terminal.say
    owner, services = facts["owner"], facts["services"]
    whose = f", owned by `mlx-local up` (process {owner['pid']}, since {owner['since']})" if owner else ""
    if services and not owner:
        whose = f", services of {services['system']}"
    say(f"Home       {facts['home']}{whose}")
    say("Processes")
    for name in _names(settings):
        process = facts["processes"].get(name)
        line = f"process {process['pid']}, since {process['since']}" if process else "not running"
        if process is None and services and name in services["states"]:
            line += f" ({services['system']}: {services['states'][name]})"
        if name in facts["api"]:
            port = facts["api"][name]
            line += f", port {port['port']} {'answers' if port['answers'] else 'does not answer'}"
        say(f"  {name:<9}{line}")
    for line in recordings_in_lines(facts["recordings"]):
        say(line)
    if facts["store"] is None:
        say(facts["store_error"])
        return
    _print_power(settings, facts)
    _print_models(facts["store"])
    say("Jobs       " + ", ".join(f"{count} {state}" for state, count in facts["store"]["jobs"].items()))
    parts = {state: count for state, count in facts["store"]["children"].items() if count and state in {"queued", "running"}}
    if parts:
        say("           of whose parts " + ", ".join(f"{count} {state}" for state, count in parts.items()))
    for queue in facts["store"]["waiting"]:
        say(f"  {_queued(queue)}")
    _print_workers(facts["store"])


def _print_workers(store: dict[str, Any]) -> None:
    for worker in store["workers"]:
        terminal.say(f"Worker     {_worker(worker)}")
        for trouble in worker["troubles"]:
            terminal.say(f"           {trouble}")


def _worker(worker: dict[str, Any]) -> str:
    where = f"{worker['host']} (another machine)" if worker["remote"] else worker["host"]
    known = f"process {worker['pid']}, since {worker['started_at']}, version {worker['version']}"
    memory = ", ".join(worker["in_memory"]) or "nothing"
    return f"{where}: {worker['id']}, {known}, in memory: {memory}"


def _names(settings: Settings) -> list[str]:
    """Return the processes that this home may have."""
    if settings.api_url:
        return ["worker"]
    return ["api", "audio", "worker", "daemon"] if settings.redis_url else ["redis", "api", "audio", "worker", "daemon"]


def _queued(queue: dict[str, Any]) -> str:
    text = f"{queue['jobs']} queued in {queue['queue']} for {queue['model']}, the first since {queue['created_at']}"
    waiting = queue["waiting_for"]
    if waiting is None:
        return text
    starts = terminal.about(waiting["estimate_s"])
    return f"{text}: {waiting['detail']}" + (f" It starts in {starts}." if starts else "")


def _print_power(settings: Settings, facts: dict[str, Any]) -> None:
    from app.jobs.decoding import why_batch_waits

    charge, waits = facts["battery_percent"], {worker["batch_waits"] for worker in facts["store"]["workers"]}
    for word in sorted(waits - {""}):
        terminal.say(f"Power      {why_batch_waits(word)}")
    if charge is not None and waits == {""}:
        later = f"; batch work waits below {LOW_CHARGE_PERCENT}%" if settings.on_low_power == "interactive" else ""
        terminal.say(f"Power      This machine runs on battery ({charge:.0f}%), and everything runs{later}.")


def _print_models(store: dict[str, Any]) -> None:
    say = terminal.say
    several = len(store["workers"]) > 1
    for worker in store["workers"]:
        if worker["budget_bytes"] is not None:
            where = f" on {worker['host']}" if several else ""
            used = f"{worker['used_bytes'] / _GB:.1f} of {worker['budget_bytes'] / _GB:.1f} GB"
            say(f"Memory     {used} are used or reserved by models{where}")
        if worker["taken_bytes"]:
            say(f"           {worker['taken_bytes'] / _GB:.1f} GB of the rest are with other programs; no model is loaded into them.")
        if worker["memory_short"]:
            say("           Other programs use nearly all of this machine's memory; nothing new begins until some is free.")
    say("Models")
    for model, state in store["models"].items():
        size = f", {state['bytes'] / _GB:.2f} GB" if state["bytes"] else ""
        say(f"  {model}: {state['state']}{size}" + (f" ({state['detail']})" if state["detail"] else ""))
    if not store["models"]:
        say("  none in memory")
