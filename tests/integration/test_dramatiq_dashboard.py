"""dramatiq-dashboard, installed as docs/dashboards.md says, shows our queues with what waits in them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from app.settings import Settings
from tests.integration.conftest import Api

_ROOT = Path(__file__).parents[2]


@pytest.mark.slow  # it is fetched from the package index
def test_the_dashboard_lists_our_queues_and_what_waits_in_each(api: Api, api_settings: Settings, tmp_path: Path) -> None:
    page = (_ROOT / "docs" / "dashboards.md").read_text()
    assert "install --no-deps dramatiq-dashboard" in page
    assert "docs/dramatiq_dashboard_server.py 8790" in page
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path), "dramatiq-dashboard"]
    subprocess.run(install, check=True)
    home = {"MLX_LOCAL_HOME": str(api_settings.home), "MLX_LOCAL_REDIS_URL": str(api_settings.redis_url)}
    environment = os.environ | home | {"PYTHONPATH": f"{tmp_path}:{_ROOT}"}
    command = [sys.executable, str(_ROOT / "docs" / "dramatiq_dashboard_server.py"), "0"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr
            url = server.stderr.readline().strip()
            assert shown(url) == {}
            for lane, count in {"batch": 3, "interactive": 2}.items():
                job = {"kind": "chat", "lane": lane, "request": {"messages": [{"role": "user", "content": "x"}]}}
                for _ in range(count):
                    api.http.post("/v1/jobs", json=job).raise_for_status()
            assert shown(url) == {"tiny-chat_batch": 3, "tiny-chat_interactive": 2}
            assert "run_job" in httpx.get(f"{url}queues/tiny-chat_batch", trust_env=False).raise_for_status().text
        finally:
            server.terminate()


def shown(url: str) -> dict[str, int]:
    """Return the queues on the page, and how many messages it says wait in each."""
    html = httpx.get(url, trust_env=False).raise_for_status().text
    rows = re.findall(r'<a href="/queues/([^"]+)">.*?table__number--primary">\s*(\d+)', html, re.DOTALL)
    return {name: int(count) for name, count in rows}
