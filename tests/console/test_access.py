"""Who sees what: every look-up starts from the signed-in user."""

import pytest
from django.core.exceptions import PermissionDenied
from django.http import Http404

from console.access import get_visible, get_writable
from datasets.models import Dataset


@pytest.fixture
def dataset(workspace):
    return Dataset.objects.create(workspace=workspace, name="support chats")


def test_members_find_their_object(alice, dataset):
    assert get_visible(Dataset.objects.all(), alice, uid=dataset.uid) == dataset


def test_strangers_learn_nothing(charlie, dataset):
    with pytest.raises(Http404):
        get_visible(Dataset.objects.all(), charlie, uid=dataset.uid)


def test_viewers_may_not_write(bob, dataset):
    with pytest.raises(PermissionDenied):
        get_writable(Dataset.objects.all(), bob, uid=dataset.uid)


def test_owners_may_write(alice, dataset):
    assert get_writable(Dataset.objects.all(), alice, uid=dataset.uid) == dataset
