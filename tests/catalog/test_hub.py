"""Copies of published versions on a model hub, through huggingface_hub against a server over HTTP."""

import pytest
from django.urls import reverse

from catalog import pushing
from catalog.models import HubAccount, Push
from catalog.models.pushes import PushState
from console.secrets import HUBS, decrypt, encrypt
from tests.catalog.hub_server import TOKEN, hub_server
from tests.catalog.test_pushing import FILES, version  # noqa: F401 -- a fixture

# huggingface_hub gives httpx a file as `data`.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
ACCOUNTS = reverse("models:hubs")


@pytest.fixture(autouse=True)
def _allowed(settings, monkeypatch):
    settings.ALLOWED_PRIVATE_ENDPOINTS = ["127.0.0.0/8"]
    # As `manage.py carry_out_push` has it.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


@pytest.fixture
def hub():
    with hub_server() as server:
        yield server


@pytest.fixture
def account(hub, workspace) -> HubAccount:
    return HubAccount.objects.create(
        workspace=workspace, name="Ours", endpoint=hub.address, token=encrypt(TOKEN, HUBS)
    )


@pytest.fixture
def push(version, alice, account) -> Push:  # noqa: F811
    return pushing.request_on_hub(version, alice, account, "people/kefu")


def test_every_file_is_committed(push, hub, version):  # noqa: F811
    assert pushing.is_for_a_hub(push.pk) and pushing.carry_out(push.pk)
    push.refresh_from_db()
    assert (push.state, push.error, push.bytes_done) == (PushState.DONE, "", version.size)
    assert hub.files == {"people/kefu": FILES} and push.address == f"{hub.address}/people/kefu"


def test_what_the_hub_has_is_not_sent_again(push, hub):
    assert pushing.carry_out(push.pk)
    Push.objects.update(state=PushState.WAITING, heartbeat_at=None)
    assert pushing.carry_out(push.pk)
    assert hub.uploads == 1 and hub.files == {"people/kefu": FILES}


def test_refused_token_fails_the_push_with_the_hubs_reason(push, account):
    account.token = encrypt("hf_other", HUBS)
    account.save()
    assert pushing.carry_out(push.pk)
    push.refresh_from_db()
    assert push.state == PushState.FAILED and "401" in push.error and "hf_" not in push.error


def test_hub_that_names_an_inner_address_for_large_files_is_not_followed(push, hub, settings, monkeypatch):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    settings.ALLOWED_PRIVATE_ENDPOINTS = ["127.0.0.1/32"]
    hub.store = f"http://127.0.0.2:{hub.server_port}"
    assert pushing.carry_out(push.pk)
    push.refresh_from_db()
    assert push.state == PushState.FAILED and "127.0.0.2" in push.error and hub.uploads == 0


@pytest.mark.parametrize("repository", ["kefu", "a/b/c", "../etc", "people/", "people/a b", "人/模型"])
def test_name_that_is_no_repository_is_refused(version, alice, account, repository):  # noqa: F811
    with pytest.raises(pushing.PushRefused) as refused:
        pushing.request_on_hub(version, alice, account, repository)
    assert refused.value.field == "repository"


def test_page_offers_the_workspaces_accounts_alone(client_of, alice, charlie, version, account):  # noqa: F811
    url = reverse("models:pushes", args=[version.uid])
    theirs = HubAccount.objects.create(workspace=charlie.memberships.get().workspace, name="x", token="x")
    data = {"way": "hub", "repository": "people/kefu"}
    assert client_of(alice).post(url, data | {"account": theirs.uid}).status_code == 422
    assert client_of(alice).post(url, data | {"account": account.uid}).status_code == 302
    assert Push.objects.get().repository == "people/kefu"


def test_account_is_added_with_its_token_encrypted_and_unseen(client_of, alice, hub):
    client = client_of(alice)
    data = {"name": "Ours", "endpoint": hub.address + "/", "secret": TOKEN}
    assert client.post(ACCOUNTS, data).status_code == 302
    account = HubAccount.objects.get()
    assert account.endpoint == hub.address and decrypt(account.token, HUBS) == TOKEN
    assert TOKEN not in client.get(ACCOUNTS).content.decode()
    assert client.post(ACCOUNTS, data).status_code == 422, "the name is taken"
    assert client.post(ACCOUNTS, data | {"name": "b", "endpoint": "http://10.0.0.1"}).status_code == 422


def test_only_members_add_and_delete_accounts(client_of, alice, bob, charlie, account, client):
    delete = reverse("models:delete_hub", args=[account.uid])
    assert client_of(bob).get(ACCOUNTS).status_code == 200
    assert client_of(bob).post(ACCOUNTS, {}).status_code == 403
    assert client_of(bob).post(delete).status_code == 403
    assert client_of(charlie).post(delete).status_code == 404
    assert client_of(alice).get(delete).status_code == 405
    assert client.get(ACCOUNTS).status_code == 302
    assert client_of(alice).post(delete).status_code == 302 and not HubAccount.objects.exists()
