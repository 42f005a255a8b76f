"""``mlx-local speak`` against the real API and a real worker with tiny weights."""

from __future__ import annotations

import io
import signal
import subprocess
import wave
from pathlib import Path

import av
import pytest

from app.jobs.record import JobState
from app.settings import Settings
from tests.integration.command import COMMAND, environment, mlx_local
from tests.integration.speaking_stack import SHORT, Stack, home, stack
from tests.integration.terminal import on_terminal

__all__ = ["home", "stack"]  # fixtures that these tests take


def test_a_text_is_said_into_a_file_of_the_format_that_its_name_says(stack: Stack, tmp_path: Path) -> None:
    for name, codec in [("a.wav", "pcm_s16le"), ("a.MP3", "mp3float"), ("a.ogg", "opus")]:
        done = mlx_local(stack.settings, "speak", SHORT, "-v", "ryan", "-o", str(tmp_path / name))
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{tmp_path / name}\n", "")
        with av.open(str(tmp_path / name)) as sound:
            assert sound.streams.audio[0].codec_context.codec.name in {codec, "libopus"}
            assert next(sound.decode(audio=0)).samples
    with wave.open(str(tmp_path / "a.wav")) as sound:  # whose reader believes its header
        frames = sound.getnframes()
    assert (tmp_path / "a.wav").stat().st_size == 44 + frames * 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.MP3", "a.ogg", "a.wav"]


def test_into_a_pipe_goes_the_sound_alone(stack: Stack) -> None:
    command = [*COMMAND, "speak", "-f", "wav", "--speed", "2"]
    done = subprocess.run(command, env=environment(stack.settings), input=SHORT.encode(), capture_output=True, check=True)
    assert done.stderr == b""
    with av.open(io.BytesIO(done.stdout)) as sound:
        assert sound.streams.audio[0].rate == 24_000


def test_on_a_terminal_it_is_played(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    player = tmp_path / "afplay"
    player.write_text(f'#!/bin/sh\ncp "$1" {tmp_path}/heard.wav\n')
    player.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with on_terminal(stack.settings, "speak", "Hello.") as screen:
        assert screen.end() == 0
    with wave.open(str(tmp_path / "heard.wav")) as sound:
        assert sound.getnframes() > 0


def test_voices_are_listed(stack: Stack) -> None:
    listed = mlx_local(stack.settings, "speak", "--voices", "-m", "voice").stdout
    assert [line.split() for line in listed.splitlines()][:2] == [["VOICE", "MODEL", "STANDS", "FOR"], ["vivian", "voice"]]
    assert ["alloy", "voice", "vivian"] in [line.split() for line in listed.splitlines()]


def test_what_is_refused_leaves_no_file_and_says_why(stack: Stack, tmp_path: Path) -> None:
    done = mlx_local(stack.settings, "speak", "Hi.", "-v", "hal", "-o", str(tmp_path / "a.mp3"))
    assert done.returncode == 1
    assert "vivian" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_hangs_up_and_so_cancels_the_job(stack: Stack, tmp_path: Path) -> None:
    long = " ".join(["It runs past the old mill before it ends, and nobody knows where it goes from there."] * 20)
    command = [*COMMAND, "speak", long, "-f", "wav", "-o", "-"]
    with subprocess.Popen(command, env=environment(stack.settings), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        process.stdout.read()
    assert process.returncode == 130
    newest = stack.api.http.get("/v1/jobs", params={"kind": "speech", "limit": 1}).json()["data"][0]
    assert stack.end(newest["id"]) is JobState.CANCELED


@pytest.mark.parametrize("words", [("Hi.", "-o", "a.midi"), ("Hi.", "-o", "there.mp3"), ("Hi.", "-o", "no/a.mp3"), ("-o", "a.mp3")])
def test_wrong_usage_is_code_2_and_asks_nobody(settings: Settings, tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "there.mp3").write_bytes(b"mine")
    done = mlx_local(settings, "speak", *(str(tmp_path / word) if "." in word[2:] else word for word in words))

    assert done.returncode == 2
    assert done.stderr
    assert (tmp_path / "there.mp3").read_bytes() == b"mine"
