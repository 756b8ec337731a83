"""The catalogue as it comes, and an operator who may change it."""

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from catalog import data_files
from catalog.loading import load, load_data_files


@pytest.fixture
def catalogue(db) -> None:
    """The data files, loaded."""
    load_data_files()


@pytest.fixture
def some_families(db) -> None:
    """Two families of the data files, which load faster than all."""
    families = [
        family for family in data_files.read_families() if family.key in ("ernie-speed", "codellama-7b")
    ]
    load(families, data_files.read_profiles())


@pytest.fixture
def operator(db) -> Client:
    """A client signed in to the admin, in English."""
    user = get_user_model().objects.create_superuser("operator", password="password", language="en")
    client = Client(headers={"accept-language": "en"})
    client.force_login(user)
    return client
