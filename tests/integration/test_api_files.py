"""Files through the official client: kept on disk, listed, read back, deleted."""

from __future__ import annotations

import io

import openai
import pytest

from app.jobs.reconcile import sweep_spool
from app.jobs.store import JobStore
from app.settings import Settings
from tests.integration.conftest import Api, running


def test_a_file_comes_back_as_it_was_and_goes_when_deleted(api: Api, store: JobStore) -> None:
    content = bytes(range(256)) * 20_000  # 5 MB: more than is held in memory
    kept = api.openai.files.create(file=("../über/a b.bin", io.BytesIO(content)), purpose="user_data")
    assert (kept.bytes, kept.filename, kept.purpose, kept.object) == (len(content), "a b.bin", "user_data", "file")
    assert api.openai.files.content(kept.id).read() == content
    assert api.openai.files.retrieve(kept.id) == kept
    sweep_spool(store)
    assert store.spool.sweep(older_than_s=-1) == 0  # held by the file
    part = api.http.get(f"/v1/files/{kept.id}/content", headers={"Range": "bytes=256-511"})
    assert (part.status_code, part.content) == (206, bytes(range(256)))
    assert api.openai.files.delete(kept.id).deleted
    with pytest.raises(openai.NotFoundError):
        api.openai.files.retrieve(kept.id)
    assert store.spool.sweep(older_than_s=-1) == 1


def test_two_files_of_the_same_content_are_kept_once_and_leave_one_by_one(api: Api, store: JobStore) -> None:
    first, second = (api.openai.files.create(file=(f"{n}.txt", b"same"), purpose="batch") for n in range(2))
    api.openai.files.delete(first.id)
    assert store.spool.sweep(older_than_s=-1) == 0
    assert api.openai.files.content(second.id).read() == b"same"


def test_files_are_listed_in_pages(api: Api) -> None:
    made = [api.openai.files.create(file=(f"{n}.txt", str(n).encode()), purpose="batch" if n % 2 else "vision").id for n in range(5)]
    assert [file.id for file in api.openai.files.list(limit=2)] == made[::-1]  # the client turns the pages
    assert [file.id for file in api.openai.files.list(purpose="batch", order="asc")] == [made[1], made[3]]
    assert api.http.get("/v1/files", params={"after": "file-nowhere"}).status_code == 404


def test_uploads_that_cannot_be_kept_are_refused(api_settings: Settings, store: JobStore) -> None:
    with running(api_settings.model_copy(update={"max_upload": 1000})) as api:
        assert api.http.post("/v1/files", json={}).status_code == 415
        broken = api.http.post("/v1/files", content=b"nonsense", headers={"Content-Type": "multipart/form-data"})
        assert broken.status_code == 400
        for form, param in (({"purpose": "batch"}, "file"), ({"purpose": "world domination"}, "purpose"), ({}, "purpose")):
            files = {"file": ("x", b"x")} if param == "purpose" else {"other": ("x", b"x")}
            answer = api.http.post("/v1/files", data=form, files=files)
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
        with pytest.raises(openai.BadRequestError, match="empty"):
            api.openai.files.create(file=("e", b""), purpose="batch")
        with pytest.raises(openai.APIStatusError) as large:
            api.openai.files.create(file=("l", b"x" * 500_000), purpose="batch")
        assert large.value.status_code == 413
        assert list(api.openai.files.list()) == []
    assert list(store.spool.holders()) == []
