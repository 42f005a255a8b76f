"""Agent tools from the package index, run as their users run them, with nothing set but the address.

What the starter model says to them does not matter: that they take our answers and come to their end does.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.agents.installed import AGENT_SETTINGS, agent_tools
from tests.documented import AGENTS_SDK, program_of, with_address
from tests.e2e.conftest import Stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def programs() -> Path:
    """The folder of the tools' programs."""
    return agent_tools()


def run(command: list[str], folder: Path, **settings: str) -> str:
    """Run a tool in an empty home, with nobody to ask, to an end without error, and return what it said."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **AGENT_SETTINGS, **settings}
    said = subprocess.run(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout + said.stderr
    return said.stdout


def jobs_done(stack: Stack) -> int:
    """Return how many chats have succeeded so far."""
    answer = httpx.get(f"{stack.url}/v1/jobs", params={"kind": "chat", "state": "succeeded", "limit": 100}).raise_for_status().json()
    assert not answer["has_more"]
    return len(answer["data"])


def test_mini_swe_agent_calls_its_shell_until_its_work_is_done(stack: Stack, programs: Path, tmp_path: Path) -> None:
    before = jobs_done(stack)
    settings = {
        "agent.step_limit": "8",
        "environment.environment_class": "tests.agents.scripted_shell.ScriptedShell",
        "model.model_kwargs.api_base": f"{stack.url}/v1",
        "model.model_kwargs.max_tokens": "200",
        "model.model_kwargs.parallel_tool_calls": "false",
        "model.model_kwargs.temperature": "0",
        "model.model_kwargs.tool_choice": "required",
    }
    chosen = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    told = tmp_path / "told.json"
    task = ["-t", "List the files of this folder.", "-y", "--exit-immediately", "-o", str(told)]
    run([str(programs / "mini"), "-m", "openai/chat", "-c", "mini.yaml", *chosen, *task], tmp_path, PYTHONPATH=str(_ROOT))

    conversation = json.loads(told.read_text())
    printed = [message["extra"]["raw_output"] for message in conversation["messages"] if message["role"] == "tool"]
    assert conversation["info"]["exit_status"] == "Submitted"
    assert printed[:2] == ["notes.txt\n"] * 2
    assert jobs_done(stack) - before == conversation["info"]["model_stats"]["api_calls"] >= 3


def test_llm_takes_tools_and_a_schema(stack: Stack, programs: Path, tmp_path: Path) -> None:
    before = jobs_done(stack)
    model = {"model_id": "here", "model_name": "chat", "api_base": f"{stack.url}/v1", "supports_tools": True, "supports_schema": True}
    (tmp_path / "extra-openai-models.yaml").write_text(json.dumps([model]))
    ask = [str(programs / "llm"), "-m", "here", "--key", "none", "-o", "temperature", "0", "-o", "max_tokens", "200"]
    run([*ask, "-T", "llm_time", "Say what time it is."], tmp_path, LLM_USER_PATH=str(tmp_path))
    legs = {"type": "integer", "minimum": 0, "maximum": 9}
    schema = {"type": "object", "properties": {"legs": legs}, "required": ["legs"], "additionalProperties": False}
    dog = run([*ask, "--schema", json.dumps(schema), "Describe a dog, as JSON."], tmp_path, LLM_USER_PATH=str(tmp_path))

    assert json.loads(dog)["legs"] in range(10)
    assert jobs_done(stack) - before >= 2


def test_the_agents_sdk_runs_as_documented(stack: Stack, programs: Path, tmp_path: Path) -> None:
    before = jobs_done(stack)
    program = with_address(program_of("clients", AGENTS_SDK), stack.url)
    run([str(programs / "python"), "-c", program], tmp_path)

    assert jobs_done(stack) - before >= 2
