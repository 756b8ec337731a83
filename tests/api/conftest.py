"""Keys for the people of the tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest

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
