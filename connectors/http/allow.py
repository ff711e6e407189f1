"""Which URLs and which addresses a system may have (RELIABILITY section 3: 55, 56; section 4: injection and SSRF)."""

from __future__ import annotations

import ipaddress
import re
from typing import Literal

import httpx

from connectors.protocol import Misdeclared, Unreachable

Network = Literal["public", "private", "loopback"]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_HOST = re.compile(r"[\w.:-]{1,253}\Z")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
"""RFC 6052's well-known prefix: the last 32 bits are an IPv4 address that the gateway connects to."""
_SHARED = ipaddress.ip_network("100.64.0.0/10")
"""RFC 6598 shared space: neither public nor private to `ipaddress`; some private clouds live there."""


def base_url(text: str, network: Network) -> httpx.URL:
    """The declared base URL of a system, or Misdeclared: a whole http(s) URL without a login, encrypted when public."""
    try:
        url = httpx.URL(text.strip())
    except (httpx.InvalidURL, ValueError) as wrong:
        raise Misdeclared(f"url: expected an http(s) URL, found one that cannot be read ({wrong})") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise Misdeclared(f"url: expected https://host/…, found {url.scheme or 'no scheme'}:")
    if not _HOST.match(url.host) or (url.port is not None and not 0 < url.port < 65536):
        raise Misdeclared("url: expected a host name and perhaps a port up to 65535, found something else")
    if url.userinfo:
        raise Misdeclared("url: expected no user or password in the URL, found one; declare a secret instead")
    if url.fragment or url.query:
        raise Misdeclared("url: expected no query and no #fragment in a base URL")
    if url.scheme == "http" and network == "public":
        raise Misdeclared(
            "url: expected https for a public system, found http (declare `network: private` or `loopback`)"
        )
    return url.copy_with(path=url.path.rstrip("/") + "/")


def origin(url: httpx.URL) -> tuple[str, str, int]:
    """Scheme, host and port: what two URLs must share for one to be trusted with the other's credentials."""
    port = url.port or (443 if url.scheme == "https" else 80)
    return url.scheme, url.host.lower().rstrip("."), port


def is_allowed(address: Address, network: Network) -> bool:
    """Whether a system of that network may be at that address; tunnelled IPv4 is judged by what it leads to."""
    inner = _inner(address)
    if inner is not None:
        return is_allowed(inner, network)
    if address.is_multicast or address.is_unspecified or address.is_link_local:
        return False
    match network:
        case "loopback":
            return address.is_loopback
        case "private":
            return not address.is_loopback and (address.is_private or address in _SHARED) and not address.is_reserved
        case "public":
            return address.is_global and not address.is_reserved


def _inner(address: Address) -> Address | None:
    """The IPv4 address inside a mapped, 6to4, Teredo or NAT64 address."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address.ipv4_mapped:
        return address.ipv4_mapped
    if address.sixtofour:
        return address.sixtofour
    if address.teredo:
        return address.teredo[1]
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def checked(addresses: list[str], network: Network, host: str) -> list[str]:
    """Those of a name's addresses that may be connected to, in order; Unreachable when none may."""
    allowed = [text for text in addresses if is_allowed(ipaddress.ip_address(text.split("%")[0]), network)]
    if not allowed:
        raise Unreachable(f"{host} is not at a {network} address; it is declared `network: {network}`", where=host)
    return allowed
