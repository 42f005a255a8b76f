"""Batches in rough conditions: files from elsewhere, lines that take their time, answers with any text in them."""

from __future__ import annotations

import codecs
import json

from app.settings import Settings
from tests.integration.answering_worker import answering
from tests.integration.batch_files import chat_line, ended, results, start
from tests.integration.conftest import Api


def test_a_file_as_windows_writes_it_is_read(api: Api, api_settings: Settings) -> None:
    content = codecs.BOM_UTF8 + "\r\n".join(json.dumps(chat_line(name)) for name in ("a", "b")).encode()
    with answering(api_settings):
        done = ended(api.openai, start(api.openai, [content.decode()]))
    assert [one["custom_id"] for one in results(api.openai, done.output_file_id)] == ["a", "b"]
