"""Typed readers of the environment: nonsense stops the start with a line that names the variable."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from console import env


@pytest.mark.parametrize(("value", "expected"), [("1", True), ("Yes", True), ("off", False), ("", False)])
def test_switches(monkeypatch, value, expected):
    monkeypatch.setenv("SWITCH", value)
    assert env.boolean("SWITCH") is expected


def test_a_switch_that_is_none_is_refused(monkeypatch):
    monkeypatch.setenv("SWITCH", "maybe")
    with pytest.raises(ImproperlyConfigured, match="SWITCH"):
        env.boolean("SWITCH")


@pytest.mark.parametrize("value", ["three", "0"])
def test_numbers_outside_their_range_are_refused(monkeypatch, value):
    monkeypatch.setenv("SLOTS", value)
    with pytest.raises(ImproperlyConfigured, match="SLOTS"):
        env.integer("SLOTS", 1, minimum=1)


def test_secrets_come_from_files(monkeypatch, tmp_path):
    (tmp_path / "key").write_text("hush\n")
    monkeypatch.delenv("SECRET_KEY", raising=False)
    monkeypatch.setenv("SECRET_KEY_FILE", str(tmp_path / "key"))
    assert env.text("SECRET_KEY") == "hush"


def test_a_database_url(monkeypatch):
    monkeypatch.setenv("DB", "postgresql://me:p%40ss@db.example:6543/console?sslmode=require")
    settings = env.database("DB", "")
    assert (settings["HOST"], settings["PORT"], settings["USER"]) == ("db.example", "6543", "me")
    assert (settings["PASSWORD"], settings["NAME"]) == ("p@ss", "console")
    assert settings["OPTIONS"] == {"sslmode": "require"}


@pytest.mark.parametrize("url", ["mysql://host/db", "postgresql://host/"])
def test_a_database_url_of_another_kind_is_refused(monkeypatch, url):
    monkeypatch.setenv("DB", url)
    with pytest.raises(ImproperlyConfigured, match="DB"):
        env.database("DB", "")


def test_storage_on_s3(monkeypatch):
    monkeypatch.setenv(
        "STORE", "s3://bucket/some/prefix?endpoint=https://s3.bj.bcebos.com&region=bj&path_style=1"
    )
    options = env.storage("STORE", "")["OPTIONS"]
    assert (options["bucket_name"], options["location"]) == ("bucket", "some/prefix")
    config = options["client_config"]
    assert (options["endpoint_url"], config.s3) == ("https://s3.bj.bcebos.com", {"addressing_style": "path"})
    assert config.request_checksum_calculation == "when_required"  # BOS and others refuse newer checksums


def test_an_unknown_storage_is_refused(monkeypatch):
    monkeypatch.setenv("STORE", "ftp://somewhere")
    with pytest.raises(ImproperlyConfigured, match="STORE"):
        env.storage("STORE", "")
