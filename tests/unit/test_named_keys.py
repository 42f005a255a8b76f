"""Keys of a home: what is kept of them, who may be named, and what is done about a damaged file."""

from __future__ import annotations

import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import SecretStr
from starlette.datastructures import Headers

from app.api.callers import Callers
from app.errors import InvalidSetting
from app.exposure import is_named
from app.internal_key import authorization, internal_key, internal_key_path
from app.named_keys import ANYONE, INTERNAL, SETTING, Caller, NamedKeys, Scope, check_exposure, keys_path
from app.settings import Settings, load_settings


@pytest.fixture
def home_settings(tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path, profile="starter")


def bearer(key: str) -> Headers:
    return Headers({"Authorization": f"Bearer {key}"})


def test_the_file_has_a_hash_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    keys = NamedKeys(tmp_path / "home")
    key = keys.create("laptop", Scope.INFERENCE)
    path = keys_path(tmp_path / "home")
    assert key not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [(known.name, known.scope) for known in keys.all()] == [("laptop", Scope.INFERENCE)]
    assert keys.revoke("laptop")
    assert not keys.revoke("laptop")
    assert keys.all() == ()


@pytest.mark.parametrize("name", ["", "Laptop", "a b", "../x", "a:b", "-x", "x" * 65, "internal", "main", "anyone", "laptop"])
def test_a_name_that_cannot_be_told_apart_or_written_is_refused(tmp_path: Path, name: str) -> None:
    keys = NamedKeys(tmp_path)
    keys.create("laptop", Scope.ADMIN)
    with pytest.raises(InvalidSetting):
        keys.create(name, Scope.ADMIN)
    assert len(keys.all()) == 1


def test_keys_made_at_once_are_all_kept(tmp_path: Path) -> None:
    together = threading.Barrier(8)

    def make(number: int) -> str:
        together.wait()
        return NamedKeys(tmp_path).create(f"k{number}", Scope.INFERENCE)

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(make, range(8)))) == 8
    assert sorted(key.name for key in NamedKeys(tmp_path).all()) == [f"k{number}" for number in range(8)]


def test_processes_that_start_together_get_one_internal_key(tmp_path: Path) -> None:
    for round_ in range(20):
        home, together = tmp_path / str(round_), threading.Barrier(8)

        def ask(_: int, home: Path = home, together: threading.Barrier = together) -> str:
            together.wait()
            return internal_key(home)

        with ThreadPoolExecutor(8) as threads:
            (key,) = set(threads.map(ask, range(8)))
        assert len(key) > 40
        assert [path.name for path in home.iterdir()] == ["internal.key"]
        assert stat.S_IMODE(internal_key_path(home).stat().st_mode) == 0o600


def test_an_empty_internal_key_lets_nobody_in_and_is_replaced(home_settings: Settings) -> None:
    internal_key_path(home_settings.home).write_text("\n")
    NamedKeys(home_settings.home).create("laptop", Scope.INFERENCE)
    assert Callers(home_settings).find(bearer("")) is None
    assert authorization(home_settings) == {}
    key = internal_key(home_settings.home)
    assert Callers(home_settings).find(bearer(key)) == INTERNAL
    assert authorization(home_settings) == {"Authorization": f"Bearer {key}"}


def test_each_key_is_told_from_the_others_and_a_wrong_one_is_nobodys(home_settings: Settings) -> None:
    settings = home_settings.model_copy(update={"api_key": SecretStr("sesame")})
    laptop = NamedKeys(settings.home).create("laptop", Scope.INFERENCE)
    callers = Callers(settings)
    assert callers.find(bearer(laptop)) == callers.find(Headers({"X-Api-Key": laptop})) == Caller("laptop", Scope.INFERENCE)
    assert callers.find(bearer("sesame")) == SETTING
    assert callers.find(bearer(internal_key(settings.home))) == INTERNAL
    for wrong in ("", "none", laptop[:-1], f"{laptop}x", laptop.upper(), "sesame\xff"):
        assert callers.find(bearer(wrong)) is None
    assert authorization(settings) == {"Authorization": "Bearer sesame"}


def test_without_keys_a_wrong_one_does_no_harm(home_settings: Settings) -> None:
    callers = Callers(home_settings)
    assert callers.find(bearer("none")) == ANYONE
    assert not callers.need_keys


@pytest.mark.parametrize("content", ["", "nonsense", "[{}]", '[{"name": "x", "scope": "king", "sha256": "00"}]', b"\xff\xfe"])
def test_a_damaged_file_lets_nobody_in_instead_of_everybody(home_settings: Settings, content: str | bytes) -> None:
    callers = Callers(home_settings)
    key = NamedKeys(home_settings.home).create("laptop", Scope.ADMIN)
    assert callers.find(bearer(key)) is not None
    keys_path(home_settings.home).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert callers.find(bearer(key)) is None
    assert callers.need_keys
    assert callers.find(bearer(internal_key(home_settings.home))) == INTERNAL
    with pytest.raises(InvalidSetting, match=r"keys\.json"):
        NamedKeys(home_settings.home).create("another", Scope.ADMIN)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "mini.lan"])  # noqa: S104 - is what must be refused without a key
def test_off_loopback_a_key_is_required(home_settings: Settings, host: str) -> None:
    check_exposure(home_settings)
    exposed = home_settings.model_copy(update={"host": host})
    internal_key(exposed.home)  # is for this home's own programs
    with pytest.raises(InvalidSetting, match="MLX_LOCAL_HOST"):
        check_exposure(exposed)
    assert Callers(exposed).find(Headers()) is None
    check_exposure(exposed.model_copy(update={"api_key": SecretStr("sesame")}))
    NamedKeys(exposed.home).create("laptop", Scope.INFERENCE)
    check_exposure(exposed)


@pytest.mark.parametrize(
    ("host", "named"),
    [("mini.lan", True), ("a.example.net", True), ("b.a.example.net", True), ("example.net", False), ("xexample.net", False), ("", False)],
)
def test_a_host_is_named_whole_or_by_what_is_above_it(host: str, *, named: bool) -> None:
    assert is_named(host, ("mini.lan", "*.example.net")) is named
