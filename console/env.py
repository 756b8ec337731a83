"""Typed readers for the environment (12-factor). A value that makes no sense stops the start with one clear line.

Every variable NAME may also come from a file named by NAME_FILE, as container secrets do.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from botocore.config import Config

TRUE = {"1", "true", "yes", "on"}
FALSE = {"0", "false", "no", "off", ""}


def text(name: str, default: str = "") -> str:
    """Returns the variable, or the content of the file that NAME_FILE points to (without the last newline)."""
    if name in os.environ:
        return os.environ[name]
    path = os.environ.get(f"{name}_FILE")
    if path:
        try:
            return Path(path).read_text(encoding="utf-8").rstrip("\n")
        except OSError as error:
            raise ImproperlyConfigured(f"{name}_FILE: {error}") from error
    return default


def boolean(name: str, default: bool = False) -> bool:
    """Returns a switch; raises ImproperlyConfigured for anything but 1/0, true/false, yes/no, on/off."""
    value = text(name, "true" if default else "false").strip().lower()
    if value in TRUE:
        return True
    if value in FALSE:
        return False
    raise ImproperlyConfigured(f"{name} must be true or false, not {value!r}")


def integer(name: str, default: int, minimum: int | None = None) -> int:
    """Returns a whole number; raises ImproperlyConfigured if it is none or lies below the minimum."""
    value = text(name, str(default))
    try:
        number = int(value)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} must be a whole number, not {value!r}") from error
    if minimum is not None and number < minimum:
        raise ImproperlyConfigured(f"{name} must be at least {minimum}, not {number}")
    return number


def choice(name: str, default: str, choices: tuple[str, ...]) -> str:
    """Returns one of the given words; raises ImproperlyConfigured for any other."""
    value = text(name, default)
    if value not in choices:
        raise ImproperlyConfigured(f"{name} must be one of {', '.join(choices)}, not {value!r}")
    return value


def words(name: str, default: str = "") -> list[str]:
    """Returns a comma-separated list without empty items."""
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def database(name: str, default: str) -> dict[str, Any]:
    """Reads a PostgreSQL URL into Django's settings form.

    postgresql://user:password@host:5432/name?sslmode=require; a socket directory goes in ?host=/path.
    Raises ImproperlyConfigured for another scheme or a missing database name.
    """
    url = urlsplit(text(name, default))
    if url.scheme not in {"postgres", "postgresql"}:
        raise ImproperlyConfigured(f"{name} must start with postgresql://, not {url.scheme}://")
    if not url.path.strip("/"):
        raise ImproperlyConfigured(f"{name} names no database: postgresql://host/NAME")
    options = dict(parse_qsl(url.query))
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(url.path.strip("/")),
        "USER": unquote(url.username or ""),
        "PASSWORD": unquote(url.password or ""),
        "HOST": options.pop("host", url.hostname or ""),
        "PORT": str(url.port or ""),
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": options,
    }


def storage(name: str, default: str) -> dict[str, Any]:
    """Reads where files are kept into an entry of Django's STORAGES.

    file:///directory, or s3://bucket/prefix?endpoint=https://host&region=bj&path_style=true; the keys come
    from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or their _FILE forms).
    """
    value = text(name, default)
    url = urlsplit(value)
    if url.scheme == "file":
        return {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": unquote(url.path)},
        }
    if url.scheme == "s3":
        options = dict(parse_qsl(url.query))
        addressing = "path" if options.get("path_style", "").lower() in TRUE else "auto"
        return {
            "BACKEND": "storages.backends.s3.S3Storage",
            "OPTIONS": {
                "bucket_name": url.netloc,
                "location": unquote(url.path.strip("/")),
                "endpoint_url": options.get("endpoint"),
                "region_name": options.get("region"),
                "client_config": s3_config(addressing),
                "access_key": text("AWS_ACCESS_KEY_ID") or None,
                "secret_key": text("AWS_SECRET_ACCESS_KEY") or None,
                "file_overwrite": True,
                "default_acl": None,
                # Larger objects are read through a temporary file, never held in memory.
                "max_memory_size": 1024 * 1024,
            },
        }
    raise ImproperlyConfigured(f"{name} must be file:///directory or s3://bucket/prefix, not {value!r}")


def url(name: str, default: str) -> str:
    """Returns the address of a server without a slash at its end; raises ImproperlyConfigured for anything else."""
    value = text(name, default).strip().rstrip("/")
    try:
        parts = urlsplit(value)
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address or parts.query or parts.fragment:
        raise ImproperlyConfigured(f"{name} must be like https://console.example.com, not {value!r}")
    return value


def mail_server(name: str) -> dict[str, Any]:
    """Reads the address of a mail server into what Django's SMTP backend takes; empty where the variable is.

    smtp://user:password@host:587?tls=starttls, smtp://host:25, or smtps://user:password@host:465; special characters
    are percent-encoded. Raises ImproperlyConfigured for another scheme, another `tls`.
    """
    value = text(name).strip()
    if not value:
        return {}
    try:
        parts = urlsplit(value)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}: {error}") from error
    if parts.scheme not in ("smtp", "smtps") or not host:
        raise ImproperlyConfigured(
            f"{name} must start with smtp:// or smtps://, followed by the server's name"
        )
    options = dict(parse_qsl(parts.query))
    tls = options.pop("tls", "")
    if options or tls not in ("", "starttls"):
        raise ImproperlyConfigured(f"{name} takes ?tls=starttls and nothing else")
    return {
        "host": host,
        "port": port or {"smtps": 465, "starttls": 587}.get(tls or parts.scheme, 25),
        "username": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "use_tls": tls == "starttls",
        "use_ssl": parts.scheme == "smtps",
    }


def s3_config(addressing: str, **options: Any) -> Config:
    """How boto3 speaks to any S3 service, AWS or not. `addressing` is path, virtual or auto."""
    from botocore.config import Config  # takes long to load, and is not needed where files lie on a disk

    return Config(
        signature_version="s3v4",
        s3={"addressing_style": addressing},
        # Others than AWS do not know its newer checksums.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        **options,
    )
