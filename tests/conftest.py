"""People and places that every test may ask for. The services behind them: tests/settings.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
from django.utils import translation

from console.models import Membership, Role, User, Workspace

# Files that take longest, first: with a file at a time for each of the processes, none is left alone with one at the
# end. The others keep their order.
FIRST = (
    *("test_worker.py", "test_accessibility.py", "test_image.py", "test_resume.py", "test_trainer.py"),
    *("test_main_job.py", "test_drafts.py", "test_up.py", "test_vision.py", "test_text.py", "test_ranks.py"),
    *("test_incremental_training.py", "test_merging.py", "test_samples.py", "test_convert.py"),
)


def pytest_configure(config: pytest.Config) -> None:
    """pytest-xdist would begin with the files of many tests, which are the fast ones."""
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not hasattr(config, "workerinput"):
        return  # a single process
    places = {name: place for place, name in enumerate(FIRST)}
    items.sort(key=lambda item: places.get(item.path.name, len(FIRST)))


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup, django_db_blocker) -> Iterator[None]:
    """At the end no session of a process that a test has killed keeps the database from being dropped."""
    yield
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@pytest.fixture(autouse=True)
def files_of_the_test(settings, tmp_path: Path) -> None:
    """Files in a directory of the test."""
    settings.RUNS_DIR = tmp_path / "runs"
    settings.UPLOADS_DIR = tmp_path / "uploads"
    settings.WEIGHTS_DIR = tmp_path / "weights"
    settings.STORAGES = {
        "default": {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": str(tmp_path / "storage")},
        },
        "staticfiles": settings.STORAGES["staticfiles"],
    }


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    """Each test begins and ends in English: a request of a Chinese reader leaves its language behind."""
    translation.activate("en")
    yield
    translation.activate("en")


@pytest.fixture
def workspace(db) -> Workspace:
    """Alice's workspace."""
    return Workspace.objects.create(name="Vision and Language")


def _person(name: str, workspace: Workspace, role: str) -> User:
    user = get_user_model().objects.create_user(name, password="password", language="en")
    Membership.objects.create(user=user, workspace=workspace, role=role)
    return user


@pytest.fixture
def alice(workspace: Workspace) -> User:
    """Owns the workspace."""
    return _person("alice", workspace, Role.OWNER)


@pytest.fixture
def bob(workspace: Workspace) -> User:
    """Only reads in it."""
    return _person("bob", workspace, Role.VIEWER)


@pytest.fixture
def charlie(db) -> User:
    """Belongs to another workspace."""
    return _person("charlie", Workspace.objects.create(name="Elsewhere"), Role.OWNER)


@pytest.fixture
def client_of() -> Callable[[User], Client]:
    """Returns a function that gives a signed-in test client."""

    def sign_in(user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return sign_in
