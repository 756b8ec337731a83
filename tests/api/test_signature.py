"""bce-auth-v1, signed by BCE's own library: what it accepts, and what it refuses."""

from __future__ import annotations

import time

import pytest
from baidubce.auth.bce_credentials import BceCredentials
from baidubce.auth.bce_v1_signer import sign
from baidubce.utils import get_canonical_time
from django.test import RequestFactory

from console.api.errors import Refused
from console.api.signature import MAX_SECONDS, authenticate, refuse_replay
from console.models import ApiKey, UsedSignature

PATH, QUERY = "/v2/finetuning", {"Action": "DescribeFineTuningJobs"}


@pytest.fixture
def signed(make_key, alice):
    """Returns a function that gives a request signed with Alice's key, changed on its way as told."""
    made = make_key(alice)

    def build(at=0.0, seconds=300, secret=None, names=None, body=b"{}", query=None, **changed):
        moment = time.time() + at
        headers = {
            "host": "testserver",
            "content-type": "application/json",
            "content-length": str(len(body)),
            "request-source": "qianfan_py_sdk_v0.4.12.3",
            "x-bce-date": get_canonical_time(moment).decode(),
        }
        names = [name for name in headers if name != "content-length"] if names is None else names
        if names and "x-bce-date" not in names:
            del headers["x-bce-date"]  # BCE's library signs it wherever it is there
        authorization = sign(
            BceCredentials(made.access_key, secret or made.secret_key),
            b"POST",
            PATH.encode(),
            {key.encode(): value for key, value in headers.items()},
            {key.encode(): value for key, value in QUERY.items()},
            timestamp=moment,
            expiration_in_seconds=seconds,
            headers_to_sign={name.encode() for name in names},
        ).decode()
        sent = headers | {"authorization": authorization} | changed
        query = "&".join(f"{key}={value}" for key, value in (query or QUERY).items())
        return RequestFactory().post(
            f"{PATH}?{query}",
            body,
            sent["content-type"],
            headers={key: value for key, value in sent.items() if not key.startswith("content-")},
        )

    return build


def refusal(request):
    with pytest.raises(Refused) as caught:
        authenticate(request)
    return caught.value.code


def test_a_signature_of_the_sdk_is_accepted(signed, alice):
    caller, _signature = authenticate(signed())
    assert caller.user == alice


@pytest.mark.parametrize("names", [["host"], ["host", "x-bce-date"], []])
def test_any_list_of_signed_headers_with_the_host_is_accepted(signed, names):
    authenticate(signed(names=names))


def test_a_signature_without_the_host_is_refused(signed):
    assert refusal(signed(names=["x-bce-date", "content-type"])) == "InvalidHTTPAuthHeader"


@pytest.mark.parametrize(
    "changed",
    [
        {"x-bce-date": "2020-01-01T00:00:00Z"},
        {"request-source": "another"},
        {"content-type": "text/plain"},
        {"host": "localhost"},
        {"query": {"Action": "DeleteFineTuningJob"}},
        {"query": QUERY | {"more": "1"}},
    ],
)
def test_whatever_is_changed_on_the_way_breaks_the_signature(signed, changed):
    assert refusal(signed(**changed)) == "SignatureDoesNotMatch"


def test_a_wrong_secret_and_an_unknown_key(signed):
    assert refusal(signed(secret="0" * 64)) == "SignatureDoesNotMatch"
    ApiKey.objects.update(access_key="f" * 32)
    assert refusal(signed()) == "InvalidAccessKeyId"


def test_a_signature_expires_after_its_seconds_and_never_lives_longer_than_the_limit(signed):
    authenticate(signed(at=-250))
    assert refusal(signed(at=-310)) == "RequestExpired"
    authenticate(signed(at=-310, seconds=180_000))
    assert refusal(signed(at=-MAX_SECONDS - 10, seconds=180_000)) == "RequestExpired"


def test_a_signature_from_the_future_is_refused(signed):
    authenticate(signed(at=60))
    assert refusal(signed(at=600)) == "RequestExpired"


@pytest.mark.parametrize(
    "header",
    [
        "Bearer x",
        "bce-auth-v1/a/b/c",
        "bce-auth-v1/a/noon/300/host/ff",
        "bce-auth-v1/a/2026-01-31T12:00:00Z/x/host/ff",
    ],
)
def test_a_malformed_header_says_what_is_wrong(signed, header):
    assert refusal(signed(authorization=header)) == "InvalidHTTPAuthHeader"
    assert refusal(signed(authorization="")) == "SignatureEmpty"


def test_a_request_that_creates_is_carried_out_once(signed):
    request = signed(body=b'{"name": "a"}')
    _caller, signature = authenticate(request)
    refuse_replay(request, signature)
    with pytest.raises(Refused, match="already"):
        refuse_replay(request, signature)
    # Signed in the same second, but about something else: BCE's clock is too coarse to tell them apart.
    refuse_replay(signed(body=b'{"name": "b"}'), signature)


def test_used_signatures_are_forgotten_when_they_have_expired(signed):
    request = signed()
    _caller, signature = authenticate(request)
    refuse_replay(request, signature)
    UsedSignature.objects.update(expires_at="2020-01-01T00:00:00Z")
    refuse_replay(signed(body=b"{}x"), signature)
    assert UsedSignature.objects.count() == 1
