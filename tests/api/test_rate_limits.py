"""So many calls a minute and key, for all three APIs; what is said beyond it, and what happens without Redis."""

from __future__ import annotations

import time
from types import SimpleNamespace

import openai
import pytest
import qianfan.errors
from django.test import Client, RequestFactory
from qianfan.consts import APIErrorCode
from qianfan.resources.console.finetune import FineTune

from console import rate_limits
from console.api import qianfan as gateway
from console.api.keys import caller_by_access_key
from console.rate_limits import count_call

pytestmark = [pytest.mark.services, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def few_calls(settings, monkeypatch):
    """Two calls a minute that read and one that changes something, in a minute that does not end meanwhile."""
    settings.API_READS_A_MINUTE, settings.API_WRITES_A_MINUTE = 2, 1
    clock = SimpleNamespace(time=lambda: 60_000_010.0, monotonic=time.monotonic)
    monkeypatch.setattr(rate_limits, "time", clock)
    rate_limits._client(settings.REDIS_URL).flushdb()


def test_calls_are_counted_apart_by_caller_and_kind(few_calls):
    used = [count_call("key-1", writes=False).used for _call in range(3)]
    assert used == [1, 2, 3] and count_call("key-1", writes=False).is_exceeded
    assert count_call("key-2", writes=False).used == count_call("key-1", writes=True).used == 1


def test_a_limit_of_nothing_counts_nobody(settings):
    settings.API_READS_A_MINUTE = 0
    assert count_call("key-1", writes=False) is None


def test_without_redis_everybody_is_let_through(settings, monkeypatch):
    monkeypatch.setattr(rate_limits, "_paused_until", 0.0)
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    assert count_call("key-1", writes=False) is None
    assert rate_limits._paused_until > 0  # the next call does not even ask
    monkeypatch.setattr(rate_limits, "_paused_until", 0.0)


def test_the_own_api_says_how_much_is_left(few_calls, make_key, alice):
    headers = {"Authorization": f"Bearer {make_key(alice).token}", "Accept-Language": "en"}
    answers = [Client().get("/api/v1/workspace", headers=headers) for _call in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer["X-RateLimit-Remaining"] for answer in answers] == ["1", "0", "0"]
    assert answers[2]["Retry-After"] == "50" and "Retry-After" not in answers[0]
    assert answers[2].json()["error"]["code"] == "too_many_requests"


def test_openais_client_understands(few_calls, openai_as, make_key, alice):
    client = openai_as(make_key(alice).token)
    client.models.list(), client.models.list()
    with pytest.raises(openai.RateLimitError) as caught:
        client.models.list()
    assert caught.value.code == caught.value.type == "rate_limit_exceeded"
    assert caught.value.response.headers["retry-after"] == "50"


def test_qianfans_sdk_understands(few_calls, qianfan_as, make_key, alice):
    qianfan_as(make_key(alice))
    FineTune.V2.supported_models(), FineTune.V2.supported_models()
    with pytest.raises(qianfan.errors.APIError) as caught:
        FineTune.V2.supported_models()
    assert caught.value.error_code == APIErrorCode.QPSLimitReached.value


def test_other_clients_of_qianfans_api_get_429(few_calls, monkeypatch, make_key, alice):
    caller = caller_by_access_key(make_key(alice).access_key)
    monkeypatch.setattr(gateway, "authenticate", lambda request: (caller, None))
    view = gateway.v1_data(gateway.Action(lambda caller, body: True, gateway.Nothing))
    answers = [view(RequestFactory().post("/x")) for _call in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert b'"error_code":18' in answers[2].content and answers[2]["Retry-After"] == "50"
