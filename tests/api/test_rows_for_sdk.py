"""Rows for Qianfan's SDK and its command line: looked at one by one, downloaded as a whole, by signed addresses."""

from __future__ import annotations

import io
import json
import zipfile

import pytest
import requests
from qianfan.resources.console.consts import DataExportDestinationType
from qianfan.resources.console.data import Data

from console.models import ApiKey
from datasets.models import DatasetVersion
from tests.jobs.conftest import make_version  # noqa: F401  (a fixture)
from tests.rows import store_rows

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def version(make_version, qianfan_as, make_key, alice) -> DatasetVersion:  # noqa: F811
    """Two conversations, the second with a system text; alice's key is the one that is used."""
    qianfan_as(make_key(alice))
    turn = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    rows = [{"messages": turn}, {"messages": [{"role": "system", "content": "s"}, *turn]}]
    made = make_version(2)
    made.rows_path = store_rows("datasets/rows.parquet", rows)
    made.save()
    return made


def test_rows_are_looked_at_one_by_one(version):
    items = Data.list_all_entity_in_dataset(version.uid, offset=1, page_size=5)["result"]["items"]
    assert [item["id"] for item in items] == ["1"]
    text = requests.get(items[0]["url"], timeout=10).json()
    assert text == [{"system": "s", "prompt": "q", "response": "a"}]


def test_an_export_has_the_same_keys_in_every_row(version):
    Data.create_dataset_export_task(version.uid, DataExportDestinationType.PlatformBos)
    assert Data.get_dataset_info(version.uid)["result"]["versionInfo"]["exportStatus"] == 2
    record = Data.get_dataset_export_records(version.uid)["result"][0]
    archive = zipfile.ZipFile(io.BytesIO(requests.get(record["downloadUrl"], timeout=10).content))
    lines = archive.read(archive.namelist()[0]).splitlines()
    assert [json.loads(line)[0]["system"] for line in lines] == ["", "s"]


def test_an_address_is_no_longer_good_than_its_key(version):
    address = Data.get_dataset_export_records(version.uid)["result"][0]["downloadUrl"]
    assert requests.get(address + "x", timeout=10).status_code == 403
    for key in ApiKey.objects.all():
        key.delete()
    assert requests.get(address, timeout=10).status_code == 403
