"""Keys for the people of the tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.db import connection
from openai import OpenAI

from console.api.keys import Credentials, issue
from console.models import Membership, Role, Scope, User


@pytest.fixture
def make_key() -> Callable[..., Credentials]:
    """Returns a function that makes a key for a person in their workspace."""

    def make(user: User, scope: str | None = None) -> Credentials:
        membership = Membership.objects.select_related("workspace").get(user=user)
        scope = scope or (Scope.READ if membership.role == Role.VIEWER else Scope.ADMIN)
        return issue(user, membership.workspace, "test", scope)[1]

    return make


@pytest.fixture
def server(live_server, monkeypatch) -> str:
    """The address of the console. Its threads let go of the database after each request, so that the test
    database can be removed although clients keep their connections open."""
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", 0)
    return live_server.url


@pytest.fixture
def qianfan_as(server, monkeypatch, tmp_path):
    """Returns a function that has the official SDK call the console with a person's key."""
    monkeypatch.setenv("QIANFAN_CACHE_DIR", str(tmp_path / "qianfan"))
    import qianfan
    from qianfan.trainer import configs

    settings = qianfan.get_config()
    monkeypatch.setattr(settings, "CONSOLE_API_BASE_URL", server)

    def sign_in(made: Credentials) -> None:
        # The SDK keeps the list of models for two hours, and asks at most every 50 minutes.
        configs.ttl_cache.clear()
        configs.last_update_time = None
        monkeypatch.setattr(settings, "ACCESS_KEY", made.access_key)
        monkeypatch.setattr(settings, "SECRET_KEY", made.secret_key)

    return sign_in


@pytest.fixture
def openai_as(server):
    """Returns a function that gives OpenAI's client with a person's key."""
    clients = []

    def sign_in(token: str) -> OpenAI:
        # Refusals are not to be asked again.
        clients.append(OpenAI(base_url=f"{server}/v1", api_key=token, max_retries=0))
        return clients[-1]

    yield sign_in
    for client in clients:
        client.close()
