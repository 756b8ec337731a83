"""Connections to object storage against a real HTTP endpoint."""

import json
import logging
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import requests
from botocore.exceptions import HTTPClientError
from cryptography.fernet import InvalidToken
from django.core.management import call_command
from django.urls import reverse

from console import endpoints, secrets
from datasets import connections, locations, objects
from datasets.connections import ConnectionFailed
from datasets.imports import run_import
from datasets.models import Connection, Dataset, DatasetVersion, VersionState
from tests.datasets.buckets import BUCKET, admin, connect, fill, s3_server

pytestmark = pytest.mark.services
GOOD = json.dumps([{"prompt": "Hi", "response": "Hello!"}])


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture(autouse=True)
def loopback(settings) -> None:
    settings.ALLOWED_PRIVATE_ENDPOINTS = ["127.0.0.0/8"]


@pytest.fixture
def connection(address, workspace) -> Connection:
    return connect(address, workspace)


@pytest.fixture
def answering() -> Iterator:
    """Returns a function that starts a server which gives every request the same answer; gives its address."""
    servers = []

    def start(status: int, body: str, **headers: str) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *args: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def typed(address: str, **changes: str) -> dict[str, str]:
    return {
        "name": "BOS", "endpoint": address, "region": "bj", "addressing": "path", "bucket": BUCKET,
        "access_key": "AKID", "secret": "s3cr3t-of-alice",
    } | changes  # fmt: skip


# --- Secrets -------------------------------------------------------------------------------------------------


def test_a_secret_is_read_only_for_its_purpose():
    encrypted = secrets.encrypt("hidden", secrets.CONNECTIONS)
    assert secrets.decrypt(encrypted, secrets.CONNECTIONS) == "hidden"
    with pytest.raises(InvalidToken):
        secrets.decrypt(encrypted, secrets.API_KEYS)


def test_connections_outlive_a_change_of_the_secret_key(connection, settings):
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another", [settings.SECRET_KEY]
    call_command("reencrypt_keys")
    settings.SECRET_KEY_FALLBACKS = []
    connection.refresh_from_db()
    connections.test(connection)
    settings.SECRET_KEY = "a third"
    with pytest.raises(ConnectionFailed) as failed:
        connections.test(connection)
    assert failed.value.field == "secret"


def test_the_secret_is_kept_encrypted_and_never_shown_or_logged(address, client_of, alice, caplog):
    caplog.set_level(logging.DEBUG)
    client = client_of(alice)
    assert client.post(reverse("datasets:new_connection"), typed(address)).status_code == 302
    made = Connection.objects.get()
    assert "s3cr3t" not in made.secret_key
    pages = [reverse("datasets:connections"), reverse("datasets:connection", args=[made.uid])]
    assert all(b"s3cr3t" not in client.get(page).content for page in pages)
    assert "s3cr3t" not in caplog.text
    refused = client.post(reverse("datasets:new_connection"), typed(address))
    assert refused.status_code == 422 and b"s3cr3t" not in refused.content


def test_an_empty_secret_keeps_the_present_one(address, connection, client_of, alice):
    before = connection.secret_key
    url = reverse("datasets:connection", args=[connection.uid])
    assert client_of(alice).post(url, typed(address, secret="", name="Renamed")).status_code == 302
    connection.refresh_from_db()
    assert (connection.name, connection.secret_key) == ("Renamed", before)


# --- Which addresses -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://127.0.0.1:9000", "http://localhost", "http://0x7f.1", "http://2130706433", "http://[::1]:80",
        "http://[::ffff:10.0.0.1]", "http://[64:ff9b::a00:1]", "http://10.0.0.1", "http://192.168.1.1",
        "http://169.254.169.254", "http://100.100.100.200", "http://168.63.129.16", "http://0.0.0.0",
        "ftp://8.8.8.8", "file:///etc/passwd", "http://", "http://a:b@8.8.8.8", "https://8.8.8.8/path",
        "https://8.8.8.8?x=1", "http://8.8.8.8:99999", "http://[::1", "no address", "http://224.0.0.1",
    ],
)  # fmt: skip
def test_addresses_that_are_not_called(settings, endpoint):
    settings.ALLOWED_PRIVATE_ENDPOINTS = []
    with pytest.raises(endpoints.EndpointRefused):
        endpoints.check_endpoint(endpoint)


def test_public_addresses_and_those_of_the_operator_are_called(settings):
    endpoints.check_endpoint("https://8.8.8.8")
    settings.ALLOWED_PRIVATE_ENDPOINTS = ["LOCALHOST", "10.1.0.0/16"]
    endpoints.check_endpoint("http://localhost:9000")
    endpoints.check_endpoint("http://10.1.2.3:9000")
    with pytest.raises(endpoints.EndpointRefused):
        endpoints.check_endpoint("http://10.2.0.1")


def test_a_name_that_changes_its_address_is_caught_when_it_is_reached(
    address, connection, settings, monkeypatch
):
    port = int(address.rpartition(":")[2])
    settings.ALLOWED_PRIVATE_ENDPOINTS = []
    real, asked = socket.getaddrinfo, []

    def rebinding(host, *args, **kwargs):
        asked.append(host)
        if host != "rebind.example":
            return real(host, *args, **kwargs)
        ip = "8.8.8.8" if len(asked) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    connection.endpoint = f"http://rebind.example:{port}"
    with pytest.raises(ConnectionFailed, match="inside the network") as failed:
        connections.test(connection)
    assert (failed.value.code, failed.value.field) == ("refused", "endpoint")
    assert len(asked) > 1


def test_an_endpoint_is_checked_on_each_use_again(connection, settings):
    connections.test(connection)
    settings.ALLOWED_PRIVATE_ENDPOINTS = []
    with pytest.raises(ConnectionFailed) as failed:
        connections.page_of(connection, BUCKET, "")
    assert failed.value.field == "endpoint"


def test_redirects_are_not_followed(address, answering, connection):
    connection.endpoint = answering(307, "", Location=f"{address}/data?list-type=2")
    with pytest.raises(ConnectionFailed):
        connections.test(connection)


@pytest.mark.parametrize(
    "addressing, start",
    [("path", "https://s3.bj.bcebos.com/data/k?"), ("virtual", "https://data.s3.bj.bcebos.com/k?")],
)
def test_both_ways_to_address_a_bucket(workspace, monkeypatch, addressing, start):
    monkeypatch.setattr(connections, "check_endpoint", lambda endpoint: None)
    connection = connect("https://s3.bj.bcebos.com", workspace, addressing=addressing, region="bj")
    client = connections.client_of(connection)
    url = client.generate_presigned_url("get_object", {"Bucket": "data", "Key": "k"})
    assert url.startswith(start)
    assert "%2Fbj%2Fs3%2Faws4_request" in url and "X-Amz-Algorithm=AWS4-HMAC-SHA256" in url


def test_aws_needs_no_endpoint(workspace):
    connection = connect("", workspace, addressing="virtual", region="eu-central-1")
    url = connections.client_of(connection).generate_presigned_url(
        "get_object", {"Bucket": "data", "Key": "k"}
    )
    assert url.startswith("https://data.s3.eu-central-1.amazonaws.com/k?")


# --- What is wrong -------------------------------------------------------------------------------------------


@pytest.fixture
def strict(address) -> Iterator[tuple[str, str, str]]:
    """The server while it checks keys: its address, an access key and its secret."""
    iam = admin(address, "iam")
    iam.create_user(UserName="trainer")
    key = iam.create_access_key(UserName="trainer")["AccessKey"]
    resources = [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"]
    rights = {"Effect": "Allow", "Action": "s3:*", "Resource": resources}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [rights]})
    iam.put_user_policy(UserName="trainer", PolicyName="bucket", PolicyDocument=policy)
    requests.post(f"{address}/moto-api/reset-auth", data="0", timeout=5)
    yield address, key["AccessKeyId"], key["SecretAccessKey"]
    requests.post(f"{address}/moto-api/reset-auth", data="inf", timeout=5)


def test_right_keys_are_saved_and_wrong_ones_named_at_their_field(strict, client_of, alice):
    address, access_key, secret = strict
    client, url = client_of(alice), reverse("datasets:new_connection")

    def errors(**changes: str) -> set[str]:
        answer = client.post(url, typed(address, region="us-east-1", **changes))
        assert answer.status_code == 422 and not Connection.objects.exists()
        return set(answer.context["form"].errors)

    assert errors(access_key="AKIAUNKNOWN", secret=secret) == {"access_key"}
    assert errors(access_key=access_key, secret="wrong") == {"secret"}
    assert errors(access_key=access_key, secret=secret, bucket="") == {"bucket"}
    good = typed(address, region="us-east-1", access_key=access_key, secret=secret)
    assert client.post(url, good).status_code == 302
    assert Connection.objects.get().tested_at


S3_ERROR = "<Error><Code>{}</Code><Message>m</Message>{}</Error>"


@pytest.mark.parametrize(
    "status, code, more, field, words",
    [
        (404, "NoSuchBucket", "", "bucket", "no bucket"),
        (403, "RequestTimeTooSkewed", "", "", "clock"),
        (400, "AuthorizationHeaderMalformed", "<Region>gz</Region>", "region", "gz"),
        (403, "SomethingNew", "", "", "SomethingNew"),
    ],
)  # fmt: skip
def test_what_servers_refuse_is_said_in_plain_words(answering, connection, status, code, more, field, words):
    connection.endpoint = answering(status, S3_ERROR.format(code, more))
    with pytest.raises(ConnectionFailed, match=words) as failed:
        connections.test(connection)
    assert failed.value.field == field


@pytest.mark.parametrize("status, body", [(200, "<html>Welcome</html>"), (200, '{"ok": 1}'), (404, "no")])
def test_a_server_that_is_no_s3_is_recognised(answering, connection, status, body):
    connection.endpoint = answering(status, body)
    with pytest.raises(ConnectionFailed, match="speak S3") as failed:
        connections.test(connection)
    assert failed.value.field == "endpoint"


def test_a_server_that_is_not_there_or_not_encrypted(address, connection):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for endpoint, code in (
        (f"http://127.0.0.1:{port}", "unreachable"),
        (address.replace("http", "https"), "tls"),
    ):
        connection.endpoint = endpoint
        with pytest.raises(ConnectionFailed) as failed:
            connections.test(connection)
        assert (failed.value.field, failed.value.code) == ("endpoint", code)


def test_an_error_of_the_library_that_is_not_known_is_a_failed_connection(connection):
    with pytest.raises(ConnectionFailed), connections.plain_words(connection):
        raise HTTPClientError(error=ValueError("odd"))


# --- Looking around ------------------------------------------------------------------------------------------


def test_folders_are_browsed_page_by_page(address, connection, client_of, alice, monkeypatch):
    fill(address, paged__a__jsonl=GOOD, paged__b__jsonl=GOOD, paged__c__jsonl=GOOD, paged__sub__d__jsonl=GOOD)
    monkeypatch.setattr(connections, "PAGE_OBJECTS", 2)
    url = reverse("datasets:browse", args=[connection.uid])
    client = client_of(alice)
    page = client.get(url, {"folder": "paged/"}).context["page"]
    assert [item.name for item in page.objects] == ["a.jsonl", "b.jsonl"] and page.next_token
    more = client.get(url, {"folder": "paged/", "token": page.next_token}, HTTP_HX_REQUEST="true")
    assert b"c.jsonl" in more.content and b"sub/" in more.content and b"<html" not in more.content


def test_buckets_are_listed_where_the_connection_names_none(address, workspace, client_of, alice):
    connection = connect(address, workspace, bucket="")
    answer = client_of(alice).get(reverse("datasets:browse", args=[connection.uid]))
    assert BUCKET in answer.context["buckets"]


def test_what_cannot_be_listed_is_said_on_the_page(address, workspace, client_of, alice):
    connection = connect(address, workspace, bucket="gone")
    answer = client_of(alice).get(reverse("datasets:browse", args=[connection.uid]))
    assert answer.status_code == 200 and "no bucket named gone" in answer.context["problem"]


# --- Import --------------------------------------------------------------------------------------------------


def take(client, connection, version, **fields):
    url = reverse("datasets:import_objects", args=[connection.uid])
    return client.post(url, {"version": version.uid, "bucket": BUCKET} | fields)


def test_chosen_files_are_imported(address, connection, version, client_of, alice):
    fill(address, pick__a__jsonl=GOOD, pick__b__jsonl=GOOD)
    answer = take(client_of(alice), connection, version, folder="pick/", key=["pick/b.jsonl"])
    assert answer.status_code == 302
    assert run_import(version.pk)
    version.refresh_from_db()
    assert (version.state, version.row_count) == (VersionState.DRAFT, 1)
    source = version.files.get()
    assert source.name == "b.jsonl" and source.path.startswith(f"datasets/{version.uid}/source/")
    assert not objects.waits_for(connection)


def test_a_folder_is_imported_with_what_is_of_an_accepted_kind(
    address, connection, version, client_of, alice
):
    fill(address, whole__a__jsonl=GOOD, whole__in__b__jsonl=GOOD, whole__notes__pdf=b"%PDF")
    take(client_of(alice), connection, version, folder="whole/", all="1")
    run_import(version.pk)
    version.refresh_from_db()
    assert version.row_count == 2
    assert sorted(version.files.values_list("name", flat=True)) == ["a.jsonl", "in/b.jsonl"]


def test_a_worker_that_takes_over_copies_only_what_is_missing(
    address, connection, version, client_of, alice, monkeypatch
):
    fill(address, twice__a__jsonl=GOOD, twice__b__jsonl=GOOD)
    take(client_of(alice), connection, version, folder="twice/", all="1")
    copied, copy = [], objects._copy

    def once(version, source, report):
        if copied:
            raise KeyboardInterrupt
        copied.append(source.name)
        return copy(version, source, report)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(objects, "_copy", once)
        run_import(version.pk)
    DatasetVersion.objects.update(import_heartbeat_at=None)
    monkeypatch.setattr(objects, "_copy", lambda *args: copied.append(args[1].name) or copy(*args))
    assert run_import(version.pk)
    version.refresh_from_db()
    assert copied == ["a.jsonl", "b.jsonl"] and version.row_count == 2


def test_progress_of_copying_is_the_first_half(address, connection, version):
    fill(address, half__a__jsonl=GOOD)
    objects.import_from(version, connection, BUCKET, "half/", None)
    version.refresh_from_db()
    told: list[int] = []
    rest = objects.fetch(version, told.append)
    rest(version.size)
    assert told == [0, version.size // 2 * 2] or told == [0, version.size // 2 + version.size // 2]


def test_an_object_that_vanished_fails_the_import_with_the_reason(address, connection, version):
    fill(address, vanish__a__jsonl=GOOD)
    objects.import_from(version, connection, BUCKET, "vanish/", None)
    admin(address).delete_object(Bucket=BUCKET, Key="vanish/a.jsonl")
    run_import(version.pk)
    version.refresh_from_db()
    assert version.state == VersionState.FAILED and set(version.problem_kinds) == {"connection_failed"}


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"key": ["no/such.jsonl"]}, "no longer there"),
        ({"key": []}, "Choose a file"),
        ({"key": ["odd/x.exe"]}, "accepted kind"),
        ({"folder": "nowhere/", "all": "1"}, "accepted kind"),
    ],
)
def test_what_cannot_be_imported_is_said_over_the_folder(
    address, connection, version, client_of, alice, fields, words
):
    fill(address, odd__x__exe=b"MZ")
    answer = take(client_of(alice), connection, version, **({"folder": "odd/"} | fields))
    assert answer.status_code == 422 and words in answer.content.decode()
    version.refresh_from_db()
    assert version.state == VersionState.EMPTY


def test_too_large_objects_are_refused(address, connection, version, client_of, alice, settings):
    fill(address, large__a__jsonl=b"x" * 1024 * 1025)
    settings.DATASET_MAX_FILE_MB = 1
    answer = take(client_of(alice), connection, version, folder="large/", all="1")
    assert answer.status_code == 422 and b"at most" in answer.content


# --- Who may what --------------------------------------------------------------------------------------------

GETS = ("connection", "browse")
POSTS = ("delete_connection", "import_objects", "use_in_place")


@pytest.mark.parametrize("name", [*GETS, *POSTS])
def test_only_members_who_may_write_use_a_connection(connection, client_of, bob, charlie, name):
    url = reverse(f"datasets:{name}", args=[connection.uid])
    method = "get" if name in GETS else "post"
    assert getattr(client_of(bob), method)(url).status_code == 403
    assert getattr(client_of(charlie), method)(url).status_code == 404
    if name in POSTS:
        assert client_of(charlie).get(url).status_code == 405


def test_viewers_see_names_but_no_keys(address, workspace, client_of, bob, charlie):
    connect(address, workspace, name="Our bucket", access_key="AKIDVISIBLE")
    page = client_of(bob).get(reverse("datasets:connections")).content
    assert b"Our bucket" in page and b"AKIDVISIBLE" not in page
    assert b"Our bucket" not in client_of(charlie).get(reverse("datasets:connections")).content
    assert client_of(bob).get(reverse("datasets:new_connection")).status_code == 403
    assert client_of(bob).get(reverse("datasets:choose_connection")).status_code == 403


def test_nothing_is_imported_across_workspaces(address, connection, version, client_of, alice, charlie):
    other = connect(address, charlie.memberships.get().workspace)
    assert take(client_of(alice), other, version, folder="", all="1").status_code == 404
    theirs = Dataset.objects.create(workspace=other.workspace, name="Theirs").versions.create(number=1)
    assert take(client_of(alice), connection, theirs, folder="", all="1").status_code == 404
    url = reverse("datasets:choose_connection")
    assert client_of(charlie).get(url, {"version": version.uid}).status_code == 404


def test_a_connection_in_use_is_not_deleted(address, connection, version, client_of, alice):
    fill(address, kept__jsonl__a__jsonl=GOOD)
    place = locations.create(connection, alice, BUCKET, "kept")
    url = reverse("datasets:delete_connection", args=[connection.uid])
    client_of(alice).post(url)
    assert Connection.objects.filter(pk=connection.pk).exists()
    place.dataset.delete()
    client_of(alice).post(url)
    assert not Connection.objects.filter(pk=connection.pk).exists()
