"""Which addresses the console may call for its users.

Whoever may write in a workspace types an endpoint, and the console calls it from inside the operator's network.
What is not on the public internet (this machine, private networks, the metadata services of clouds) is therefore
refused unless the operator allows it: ALLOWED_PRIVATE_ENDPOINTS, host names and networks.

The name is resolved and checked when a connection is saved and whenever it is used. A name that answers with
another address a moment later (DNS rebinding) is caught too: `Checked` looks at the address that each connection has
really reached, before anything is sent. Not covered: that a TCP connection to an inner address was opened and
closed in that case, and an HTTP proxy set for the console (HTTPS_PROXY), which resolves names by itself and has to
refuse inner addresses on its own. Redirects are never followed: botocore's sessions do not.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import SplitResult, urlsplit

from django.conf import settings
from django.utils.translation import gettext as _

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Public addresses at which clouds answer their own machines: Azure's is not in a private range.
_METADATA = {ipaddress.ip_address("168.63.129.16")}
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class EndpointRefused(ValueError):
    """An endpoint that is not called; the text says why, for the user."""


class InnerAddress(OSError):
    """A connection that has reached an address that is not allowed."""


def check_endpoint(endpoint: str) -> None:
    """Raises EndpointRefused for what is no address of a server, or one inside the operator's network."""
    url, host = _parts(endpoint)
    if url.path not in ("", "/") or url.query or url.fragment:
        raise EndpointRefused(
            _("Only the server's address, without a path: the bucket has a field of its own.")
        )
    _check_host(host, url.port)


def check_url(text: str) -> None:
    """Raises EndpointRefused for an address, path included, that nothing is sent to: as `check_endpoint`, and one
    without TLS unless its server is inside the operator's network and allowed."""
    url, host = _parts(text)
    if url.fragment:
        raise EndpointRefused(_("This is no address of a server."))
    found = _check_host(host, url.port)
    if url.scheme != "https" and not all(_is_listed(host, address) for address in found):
        raise EndpointRefused(
            _("The address has to begin with https://: what is sent over http:// can be read on its way.")
        )


def _parts(text: str) -> tuple[SplitResult, str]:
    """The address taken apart, and its host; raises EndpointRefused."""
    try:
        url = urlsplit(text)
        host, _port = url.hostname or "", url.port
    except ValueError as error:
        raise EndpointRefused(_("This is no address of a server.")) from error
    if url.scheme not in ("http", "https") or not host:
        raise EndpointRefused(
            _("An endpoint begins with https:// or http://, followed by the server's name.")
        )
    if url.username is not None or url.password is not None:
        raise EndpointRefused(_("User names and passwords do not belong into the address; keys have fields."))
    return url, host


def _check_host(host: str, port: int | None) -> list[str]:
    """The addresses that a name leads to, all of them allowed; raises EndpointRefused."""
    try:
        found = socket.getaddrinfo(host, port or 443, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise EndpointRefused(_("There is no server named %(host)s.") % {"host": host}) from error
    for *_rest, address in found:
        if not is_allowed(host, str(address[0])):
            raise EndpointRefused(
                _(
                    "%(host)s is an address inside the network of this console, which it does not call. "
                    "An operator can allow it (setting ALLOWED_PRIVATE_ENDPOINTS)."
                )
                % {"host": host}
            )
    return [str(address[0]) for *_rest, address in found]


def is_allowed(host: str, address: str) -> bool:
    """Whether a host may be called at an address: a public one, or one that the operator allows."""
    ip = _plain(ipaddress.ip_address(address.partition("%")[0]))
    is_public = ip.is_global and not ip.is_multicast and ip not in _METADATA
    return is_public or _is_listed(host, address)


def _is_listed(host: str, address: str) -> bool:
    """Whether the operator has allowed the server by name, address or network."""
    ip = _plain(ipaddress.ip_address(address.partition("%")[0]))
    return any(_covers(entry, host, ip) for entry in settings.ALLOWED_PRIVATE_ENDPOINTS)


def _plain(ip: Address) -> Address:
    """The IPv4 address that an IPv6 address only wraps."""
    if isinstance(ip, ipaddress.IPv6Address):
        if ip in _NAT64:
            return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        return ip.ipv4_mapped or ip.sixtofour or ip
    return ip


def _covers(entry: str, host: str, ip: Address) -> bool:
    try:
        return ip in ipaddress.ip_network(entry)
    except ValueError:
        return entry.lower() == host.lower()


class Checked:
    """Mixed into urllib3's connections: looks where the socket ends before it is used."""

    host: str

    def _new_conn(self) -> socket.socket:
        connected: socket.socket = super()._new_conn()  # type: ignore[misc]
        address = connected.getpeername()[0]
        if not is_allowed(self.host, address):
            connected.close()
            raise InnerAddress(f"{self.host} leads to {address}")
        return connected


@contextmanager
def allowed_addresses_only() -> Iterator[None]:
    """Every name that this process looks up has to lead to an allowed address, those of redirects as well.

    For processes that do nothing else: libraries that give no way to their connections run in one.
    """
    ask = socket.getaddrinfo

    def checked(host: Any, *rest: Any, **options: Any) -> Any:
        found = ask(host, *rest, **options)
        for *_others, address in found:
            if not is_allowed(str(host), str(address[0])):
                raise InnerAddress(f"{host} leads to {address[0]}")
        return found

    socket.getaddrinfo = checked
    try:
        yield
    finally:
        socket.getaddrinfo = ask
