"""When a dead process is started again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.cli.restarts import Exit, GiveUp, History, Restart, after_exit

KILLED = Exit(status=-9, lived_s=5.0, was_ready=True)
PORT_TAKEN = Exit(status=1, lived_s=0.3, was_ready=False, last_line="[Errno 98] address in use (pid 4711)")


def delays(*ends: Exit) -> list[float | None]:
    """Return the delay after each of *ends*, None where the supervisor gives up."""
    history = History()
    found: list[float | None] = []
    for end in ends:
        decision = after_exit(history, end)
        if isinstance(decision, GiveUp):
            return [*found, None]
        history = decision.history
        found.append(decision.delay_s)
    return found


def test_the_first_death_is_answered_at_once_and_the_next_ones_ever_later() -> None:
    assert delays(*[KILLED] * 5) == [0.0, 0.5, 1.0, 2.0, 4.0]


def test_a_steady_minute_wipes_the_slate() -> None:
    assert delays(KILLED, KILLED, KILLED, Exit(status=-9, lived_s=61.0, was_ready=True)) == [0.0, 0.5, 1.0, 0.0]


def test_five_starts_that_fail_alike_are_enough_whatever_numbers_the_message_carries() -> None:
    ends = [Exit(1, 0.3, was_ready=False, last_line=f"[Errno 98] address in use (pid {pid})") for pid in (1, 22, 333, 4, 5)]

    assert delays(*ends)[-1] is None
    assert None not in delays(*ends[:4])


def test_another_symptom_begins_the_count_again() -> None:
    other = Exit(status=1, lived_s=0.3, was_ready=False, last_line="no such file")

    assert None not in delays(*[PORT_TAKEN] * 4, other, *[PORT_TAKEN] * 4)


def test_a_wrong_setting_is_not_tried_twice() -> None:
    assert delays(Exit(status=2, lived_s=0.3, was_ready=False)) == [None]


def test_a_process_that_once_served_has_settings_that_work() -> None:
    refused = Exit(status=2, lived_s=0.3, was_ready=False)

    assert None not in delays(KILLED, *[refused] * 4)
    assert delays(KILLED, *[refused] * 5)[-1] is None


def test_a_process_that_had_been_ready_is_never_given_up() -> None:
    assert None not in delays(*[Exit(status=1, lived_s=0.1, was_ready=True)] * 50)


@given(st.lists(st.builds(Exit, st.sampled_from([0, 1, -9, -11]), st.sampled_from([0.1, 59.0, 60.0]), st.booleans()), max_size=40))
def test_no_wait_is_longer_than_half_a_minute(ends: list[Exit]) -> None:
    assert all(delay is None or 0 <= delay <= 30 for delay in delays(*ends))


def test_a_decision_is_a_value() -> None:
    assert after_exit(History(), KILLED) == Restart(0.0, History(deaths=1, served=True))
