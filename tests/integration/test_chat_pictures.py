"""Pictures through the whole path: OpenAI's client, the API, a real worker with tiny models that see."""

from __future__ import annotations

import base64
import io
import json
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import openai
import pytest
from PIL import Image

from app.jobs.store import JobStore
from app.settings import Settings, load_settings
from tests.conftest import RedisServer
from tests.integration.conftest import Api, running
from tests.integration.worker_process import WorkerProcess
from tests.videos import sound_alone, video

_MODELS = ("qwen3_vl", "qwen3_5_moe", "paddleocr_vl")


def png(number: int, size: tuple[int, int] = (96, 64)) -> bytes:
    out = io.BytesIO()
    Image.radial_gradient("L").resize(size).rotate(number * 40).convert("RGB").point(lambda value: (value * (number + 1)) % 256).save(
        out, "PNG"
    )
    return out.getvalue()


def uri(content: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


class Gallery:
    """A web server of this machine, with pictures and traps."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        gallery = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                gallery.asked.append(self.path)
                if self.path == "/one.png":
                    self.send_response(200)
                    self.end_headers()
                    self.wfile.write(png(1))
                elif self.path == "/one.mp4":
                    self.send_response(200)
                    self.end_headers()
                    self.wfile.write(video(seed=1))
                elif self.path == "/on":
                    self.send_response(302)
                    self.send_header("Location", "/one.png")
                    self.end_headers()
                else:
                    self.send_error(404)

            def log_message(self, *_: Any) -> None:  # noqa: ANN401
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="module")
def gallery() -> Iterator[Gallery]:
    gallery = Gallery()
    yield gallery
    gallery.close()


class Eyes:
    """A running API that fetches from this machine too, and its worker."""

    def __init__(self, api: Api, settings: Settings) -> None:
        self.api = api
        self.settings = settings

    def ask(self, model: str, *parts: str | bytes, **more: Any) -> str:  # noqa: ANN401
        """Return the answer to texts, pictures and videos as bytes, and addresses of them, in this order."""
        content: list[Any] = []
        for part in parts:
            if isinstance(part, str) and not part.startswith("http"):
                content.append({"type": "text", "text": part})
            else:
                moves = part.endswith(".mp4") if isinstance(part, str) else b"ftyp" in part[:16]
                url = part if isinstance(part, str) else uri(part)
                content.append(film(url) if moves else picture(url))
        answer = self.api.openai.chat.completions.create(
            model=model, messages=[{"role": "user", "content": content}], temperature=0, max_tokens=10, **more
        )
        return str(answer.choices[0].message.content)


@pytest.fixture(scope="module")
def eyes(tiny_model: Callable[[str], Path]) -> Iterator[Eyes]:
    home = Path(tempfile.mkdtemp(prefix="mlx-", dir="/tmp"))
    entries = [f'[[model]]\nid = "{name}"\nrepo = "{tiny_model(f"{name}-f32")}"\ntasks = ["chat", "vision"]\n' for name in _MODELS]
    entries.append(f'[[model]]\nid = "blind"\nrepo = "{tiny_model("qwen3-f32")}"\ntasks = ["chat"]\n')
    (home / "catalog.toml").write_text("".join(entries) + '[roles]\nchat = "qwen3_vl"\n')
    (home / "redis").mkdir()
    redis = RedisServer(home / "redis")
    redis.start()
    settings = load_settings(
        home=home / "home",
        redis_url=redis.url,
        profile="starter",
        min_free_disk=0,
        catalog=home / "catalog.toml",
        private_pictures=True,
        max_picture_pixels=1_000_000,
        max_video=200_000,
    )
    settings.home.mkdir()
    worker = WorkerProcess(settings)
    worker.start()
    with running(settings) as api:
        yield Eyes(api, settings)
    assert worker.stop() == 0
    redis.kill()
    shutil.rmtree(home, ignore_errors=True)


@pytest.mark.parametrize("model", _MODELS)
def test_what_is_seen_makes_the_answer(eyes: Eyes, model: str) -> None:
    one = eyes.ask(model, png(1), "What is this?")
    assert eyes.ask(model, png(1), "What is this?") == one
    assert eyes.ask(model, png(2), "What is this?") != one
    assert eyes.ask(model, png(1), png(2), "And?") != eyes.ask(model, png(2), png(1), "And?")


@pytest.mark.parametrize("model", _MODELS)
def test_company_changes_no_answer(eyes: Eyes, model: str) -> None:
    questions: list[tuple[str | bytes, ...]] = [
        (png(1), "What is this?"),
        ("A river runs to the sea.",),
        (png(2, (200, 60)), png(3), "Compare them."),
        ("Say something.", png(1), "Again."),
        ("Count to three.",),
        (png(4), "And this?"),
    ]
    alone = [eyes.ask(model, *parts) for parts in questions]
    with ThreadPoolExecutor(len(questions)) as threads:
        assert list(threads.map(lambda parts: eyes.ask(model, *parts), questions)) == alone


def test_the_same_picture_from_an_address_is_the_same(eyes: Eyes, gallery: Gallery) -> None:
    here = eyes.ask("qwen3_vl", png(1), "What is this?")
    assert eyes.ask("qwen3_vl", f"{gallery.url}/one.png", "What is this?") == here
    assert eyes.ask("qwen3_vl", f"{gallery.url}/on", "What is this?") == here


@pytest.mark.parametrize("model", ["qwen3_vl", "qwen3_5_moe"])
def test_a_video_is_looked_at_in_company_as_alone(eyes: Eyes, model: str) -> None:
    questions: list[tuple[str | bytes, ...]] = [
        (video(seed=1), "What happens?"),
        ("A river runs to the sea.",),
        (png(1), video(seed=2), "Is it in there?"),
        (video(seed=2), "What happens?"),
    ]
    alone = [eyes.ask(model, *parts) for parts in questions]
    assert alone[0] != alone[3]
    with ThreadPoolExecutor(len(questions)) as threads:
        assert list(threads.map(lambda parts: eyes.ask(model, *parts), questions)) == alone


def test_the_same_video_from_an_address_is_the_same(eyes: Eyes, gallery: Gallery) -> None:
    assert eyes.ask("qwen3_vl", f"{gallery.url}/one.mp4", "What?") == eyes.ask("qwen3_vl", video(seed=1), "What?")


def test_a_picture_in_a_format_of_its_own_is_seen(eyes: Eyes) -> None:
    for form, mode in [("JPEG", "CMYK"), ("GIF", "P"), ("WEBP", "RGBA"), ("TIFF", "I;16"), ("BMP", "1")]:
        out = io.BytesIO()
        picture = Image.radial_gradient("L")
        (picture.convert("I").point(lambda value: value * 257).convert("I;16") if mode == "I;16" else picture.convert(mode)).save(out, form)
        assert eyes.ask("qwen3_vl", out.getvalue(), "What is this?")


def test_a_job_keeps_its_picture_and_not_the_text_of_it(eyes: Eyes) -> None:
    answer = eyes.api.http.post(
        "/v1/jobs",
        json={
            "kind": "chat",
            "request": {
                "model": "qwen3_vl",
                "max_tokens": 3,
                "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": uri(png(5)), "detail": "low"}}]}],
            },
        },
    )
    job_id = answer.json()["id"]
    with eyes.api.http.stream("GET", f"/v1/jobs/{job_id}/events") as events:
        told = [json.loads(line.removeprefix("data:")) for line in events.iter_lines() if line.startswith("data:")]
    assert told[-1]["state"] == "succeeded"
    again = eyes.api.http.post(f"/v1/jobs/{job_id}/retry").json()
    with eyes.api.http.stream("GET", f"/v1/jobs/{again['id']}/events") as events:
        told = [json.loads(line.removeprefix("data:")) for line in events.iter_lines() if line.startswith("data:")]
    assert told[-1]["state"] == "succeeded"


def refused(eyes: Eyes, *content: dict[str, Any], model: str = "qwen3_vl", role: str = "user") -> dict[str, Any]:
    body = {"model": model, "messages": [{"role": role, "content": list(content)}]}
    answer = eyes.api.http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 400, answer.text
    return dict(answer.json()["error"])


def picture(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def film(url: str) -> dict[str, Any]:
    return {"type": "video_url", "video_url": {"url": url}}


def test_what_is_no_video_is_refused_by_its_place(eyes: Eyes) -> None:
    text = {"type": "text", "text": "What happens?"}
    for url, code in [
        (uri(b"This is no video."), "unreadable_video"),
        (uri(video()[:-400]), "unreadable_video"),
        (uri(sound_alone()), "unreadable_video"),
        (uri(b"x" * 200_001), "video_too_large"),
        ("file:///etc/passwd", "video_not_fetched"),
    ]:
        error = refused(eyes, text, film(url))
        assert (error["code"], error["param"]) == (code, "messages.0.content.1.video_url.url"), url[:80]
    assert refused(eyes, text, film(uri(video())), model="blind")["param"] == "model"
    assert "send frames of it as pictures" in refused(eyes, text, film(uri(video())), model="paddleocr_vl")["message"]
    assert refused(eyes, film(uri(video())), role="system")["param"] == "messages.0.content"
    narrow = refused(eyes, text, picture(uri(png(1, (9000, 3)))))
    assert (narrow["param"], "9000 x 3 pixels" in narrow["message"]) == ("messages.0.content.1", True)


def test_what_is_no_picture_is_refused_by_its_place(eyes: Eyes) -> None:
    text = {"type": "text", "text": "What is this?"}
    for url, code in [
        (uri(b"This is no picture."), "unreadable_image"),
        (uri(png(1)[:-40]), "unreadable_image"),
        ("data:image/png;base64,@@@", "unreadable_image"),
        ("data:image/png;base64,", "unreadable_image"),
        (uri(png(1, (2000, 600))), "image_too_large"),
        ("file:///etc/passwd", "image_not_fetched"),
        ("/etc/passwd", "image_not_fetched"),
        ("ftp://example.com/x.png", "image_not_fetched"),
    ]:
        error = refused(eyes, text, picture(url))
        assert (error["code"], error["param"]) == (code, "messages.0.content.1.image_url.url"), url
        assert str(eyes.settings.home) not in error["message"]
    assert refused(eyes, text, picture(uri(png(1))), model="blind")["param"] == "model"
    assert refused(eyes, picture(uri(png(1))), role="system")["param"] == "messages.0.content"
    assert refused(eyes, {"type": "image_url", "image_url": {}})["param"] == "messages.0.content.0.image_url.url"
    assert refused(eyes, {"type": "input_audio", "input_audio": {}})["param"] == "messages.0.content.0.type"
    assert refused(eyes, {"type": "image_url", "image_url": {"url": uri(png(1)), "detail": "best"}})["param"].endswith("detail")
    assert refused(eyes, *[picture(uri(png(1)))] * 101)["param"] == "messages"


def test_a_refused_picture_leaves_nothing_in_the_spool(api_settings: Settings, store: JobStore, gallery: Gallery) -> None:
    (api_settings.home / "catalog.toml").write_text(
        (api_settings.home / "catalog.toml").read_text().replace('tasks = ["chat"]', 'tasks = ["chat", "vision"]', 1)
    )
    asked = list(gallery.asked)
    with running(api_settings) as api:
        for url in (f"{gallery.url}/one.png", "http://localhost:1/x.png", "http://[::1]/x.png", "http://2130706433/x.png"):
            content = [picture(uri(png(1))), picture(url)]
            with pytest.raises(openai.BadRequestError) as caught:
                api.openai.chat.completions.create(model="tiny-chat", messages=[{"role": "user", "content": content}])  # type: ignore[misc,list-item]
            assert caught.value.code == "image_not_fetched"
            assert "public" in caught.value.message
    assert gallery.asked == asked
    assert list(store.spool.holders()) == []
