"""The general corpus and the preset datasets that come with the console."""

import pytest
from django.core.management import call_command

from console.models import Workspace
from datasets.models import DatasetVersion, SharedData, SharedKind, VersionState
from datasets.rows import page_of_rows
from datasets.shared import BUNDLED, SAMPLES, SharedDataError, make_shared

pytestmark = pytest.mark.django_db


def test_every_bundled_file_is_offered_whole():
    assert len(make_shared()) == len(BUNDLED)
    for bundled in BUNDLED:
        version = SharedData.objects.get(kind=bundled.kind).version
        lines = (SAMPLES / bundled.file).read_text().splitlines()
        assert (version.state, version.row_count) == (VersionState.PUBLISHED, len(lines))
        assert page_of_rows(version, 0, 1)[0]["messages"][0]["role"] in ("user", "system")


def test_a_second_call_makes_nothing():
    make_shared()
    assert make_shared() == []
    assert DatasetVersion.objects.count() == len(BUNDLED)


def test_what_an_operator_disabled_stays_so():
    make_shared()
    SharedData.objects.update(enabled=False)
    make_shared()
    assert not SharedData.objects.filter(enabled=True).exists()


def test_a_call_that_was_killed_is_carried_on():
    make_shared()
    SharedData.objects.all().delete()
    DatasetVersion.objects.update(state=VersionState.IMPORTING, import_heartbeat_at=None)
    make_shared()
    assert SharedData.objects.filter(version__state=VersionState.PUBLISHED).count() == len(BUNDLED)


def test_a_broken_import_is_told():
    make_shared()
    DatasetVersion.objects.update(state=VersionState.FAILED)
    with pytest.raises(SharedDataError, match=r"corpus\.jsonl"):
        make_shared()


def test_nobody_is_in_their_workspace(alice, client_of):
    call_command("make_shared")
    corpus = SharedData.objects.get(kind=SharedKind.CORPUS)
    assert not corpus.version.dataset.workspace.members.exists()
    assert client_of(alice).get(f"/datasets/versions/{corpus.version.uid}/").status_code == 404


def test_a_team_with_the_same_name_keeps_its_workspace(alice, workspace):
    workspace.name = "共享数据 / Shared data"
    workspace.save()
    make_shared()
    assert not workspace.datasets.exists()
    assert Workspace.objects.filter(name=workspace.name).count() == 2
