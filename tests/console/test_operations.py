"""What operators watch: readiness, figures for Prometheus, and who may see them."""

import socket

import pytest
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

pytestmark = pytest.mark.django_db


def free_port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def families(client: Client, **headers: str) -> dict:
    response = client.get("/metrics", headers=headers)
    assert response.status_code == 200
    return {family.name: family for family in text_string_to_metric_families(response.content.decode())}


def test_a_whole_console_is_ready(client: Client) -> None:
    response = client.get("/readyz")
    assert response.status_code == 200
    assert response.json() == {
        "status": "ready",
        "checks": {"database": True, "migrations": True, "broker": True, "storage": True},
    }


def test_a_broker_that_is_away_makes_it_not_ready(client: Client, monkeypatch) -> None:
    from console import health

    nobody_listens = f"redis://127.0.0.1:{free_port()}/0"
    connect = health.app.connection_for_write
    monkeypatch.setattr(
        health.app, "connection_for_write", lambda **options: connect(nobody_listens, **options)
    )
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"] == {
        "database": True,
        "migrations": True,
        "broker": False,
        "storage": True,
    }


def test_figures_are_for_the_operator_and_for_the_token(client: Client, alice, admin_user, settings) -> None:
    assert client.get("/metrics").status_code == 404
    assert client.get("/metrics", headers={"Authorization": "Bearer "}).status_code == 404
    client.force_login(alice)
    assert client.get("/metrics").status_code == 404
    client.force_login(admin_user)
    assert "jingtiao_runs" in families(client)
    client.logout()
    settings.METRICS_TOKEN = "a-token"
    assert client.get("/metrics", headers={"Authorization": "Bearer another"}).status_code == 404
    assert "jingtiao_runs" in families(client, Authorization="Bearer a-token")


def test_requests_are_counted_by_the_name_of_their_address(client: Client, settings) -> None:
    settings.METRICS_TOKEN = "t"

    def count(**labels: str) -> float:
        found = families(client, Authorization="Bearer t").get("jingtiao_request_seconds")
        samples = [sample for sample in found.samples if sample.name.endswith("_count")] if found else []
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    answered, unknown = count(address="healthz", status="200"), count(address="none", status="404")
    client.get("/healthz")
    client.get("/nowhere/at/all")
    assert count(address="healthz", status="200") == answered + 1
    assert count(address="none", status="404") == unknown + 1
