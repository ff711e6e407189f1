"""What a declared URL may be, as far as its text tells; the address a name resolves to is checked when connecting."""

from __future__ import annotations

import ipaddress
import socket
from typing import Literal
from urllib.parse import urlsplit

Network = Literal["public", "private", "loopback"]
NETWORKS: tuple[Network, ...] = ("public", "private", "loopback")
_METADATA_HOSTS = frozenset({"metadata", "metadata.google.internal", "instance-data", "instance-data.ec2.internal"})
_PRIVATE_SUFFIXES = (".local", ".internal", ".lan", ".home.arpa", ".intranet", ".corp")


def url_problem(url: str, network: Network, schemes: tuple[str, ...] = ("http", "https")) -> tuple[str, str] | None:
    """(expected, found) of what is wrong with a URL, None if nothing is (RELIABILITY 55, 56)."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return f"a URL such as {schemes[-1]}://api.example.com", str(error)
    if parts.scheme.lower() not in schemes:
        return f"a URL that begins with {' or '.join(f'{s}://' for s in schemes)}", f"'{url[:60]}'"
    if parts.username is not None or parts.password is not None:
        return "no user or password in the URL (declare them as {env: NAME})", "both or one of them"
    if not host:
        return "a URL with a host", f"'{url[:60]}'"
    if any(c.isspace() or ord(c) < 32 or c == "\\" for c in url):
        return "a URL without blanks or backslashes", repr(url[:60])
    if parts.query or parts.fragment:
        return "a base URL without ? or #", f"'{url[:60]}'"
    return host_problem(host, network)


def host_problem(host: str, network: Network) -> tuple[str, str] | None:
    """(expected, found) of a host that the declared network does not cover."""
    name = host.lower().rstrip(".")
    kind = _kind_of_host(name)
    if kind == "never":
        return "the host of a business system", f"the host '{host}'"
    if kind == "disguised":
        return "an address in its plain form", f"the number '{host}' as a host"
    if kind is None or kind == network:
        return None
    asked = f"network: {kind} beside it" if kind != "public" else f"a {network} address"
    return f"{asked} (network is {network})", f"the {kind} host '{host}'"


def _kind_of_host(name: str) -> Network | Literal["never", "disguised"] | None:
    """What a host's text says about its network; None: an ordinary name."""
    if name in _METADATA_HOSTS:
        return "never"
    if name == "localhost" or name.endswith((".localhost", ".localdomain")):
        return "loopback"
    if name.endswith(_PRIVATE_SUFFIXES):
        return "private"
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        try:
            socket.inet_aton(name)  # only parses: 2130706433, 0x7f.1 and 127.1 are addresses to the C library
        except (OSError, UnicodeError):
            return None
        return "disguised"
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        return "never"
    if address.is_loopback:
        return "loopback"
    if isinstance(address, ipaddress.IPv4Address) and address.is_reserved:
        return "never"
    return "public" if address.is_global else "private"
