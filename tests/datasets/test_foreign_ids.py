"""Identifiers of another workspace, tried at every page of datasets: nothing is told, nothing changes."""

from __future__ import annotations

import pytest
from django.urls import reverse

from datasets import urls
from datasets.models import Connection, Dataset, DatasetVersion, Upload, VersionState
from tests.datasets.buckets import connect

GIVEN = {"number": 1, "key": "0-1", "name": "a.png", "ending": "csv"}


def as_it_was() -> list[list[object]]:
    models = (Dataset, DatasetVersion, Connection, Upload)
    return [list(model._default_manager.order_by("pk").values()) for model in models]


@pytest.mark.django_db
def test_no_page_knows_them(imported, workspace, alice, client_of, charlie) -> None:
    version = imported({"a.jsonl": b'{"prompt": "p", "response": "r"}\n{"prompt": " "}'})
    DatasetVersion.objects.update(state=VersionState.DRAFT)
    upload = Upload.objects.create(version=version, user=alice, name="b.jsonl", size=9)
    connection = connect("http://127.0.0.1:1", workspace)
    client, before, tried = client_of(charlie), as_it_was(), 0
    for pattern in urls.urlpatterns:
        names = {*pattern.pattern.converters, *pattern.pattern.regex.groupindex}
        if "uid" in names:
            owner = str(pattern.pattern).removeprefix("^").split("/")[0]
            uid = {"versions": version.uid, "connections": connection.uid}.get(owner, version.dataset.uid)
            given = GIVEN | {"uid": uid, "upload_uid": upload.uid}
            address = reverse(f"datasets:{pattern.name}", kwargs={name: given[name] for name in names})
            for answer in (client.get(address), client.post(address, {"version": version.uid})):
                assert answer.status_code in (404, 405), (address, answer.status_code)
            tried += 1
    assert tried > 35 and as_it_was() == before
    choose = reverse("datasets:choose_connection")
    assert client.get(choose, {"version": version.uid}).status_code == 404
