"""Which URLs and addresses may be contacted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TYPE_CHECKING

from rag.core.errors import InputError
from rag.core.offline import offline
from rag.web.failures import Failure

if TYPE_CHECKING:
    import httpx2

_DEFAULT_PORTS = {"http": 80, "https": 443}
_FIRST_UNRESERVED_PORT = 1024
_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
_GLOBAL_IPV6 = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
# Not all of them are marked as special by every Python that runs us.
_SPECIAL = tuple(
    map(
        ip_network,
        (
            "100.64.0.0/10",  # carrier-grade NAT
            "168.63.129.16/32",  # the wire server of a cloud, on an address that looks public
            "192.0.0.0/24",  # protocol assignments; metadata of a cloud
            "192.88.99.0/24",  # 6to4 relays
            "2001::/23",  # protocol assignments, among them Teredo
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4
            "3fff::/20",  # documentation
        ),
    )
)


def parse_url(text: str, base: httpx2.URL | None = None) -> httpx2.URL:
    """Return the URL that is meant, in one spelling and without its fragment.

    The ports that may be asked are the scheme's own and those from 1024 up: below are mail servers
    and the like, which could be made to do things by what a URL says.

    Args:
        text: The URL.
        base: What the URL is relative to; None if it has to be absolute.

    Raises:
        Failure: The URL is none that can be fetched.
    """
    import httpx2

    try:
        url = httpx2.URL(text.strip()) if base is None else base.join(text.strip())
        url = url.copy_with(fragment=None)
    except (httpx2.InvalidURL, UnicodeError) as error:
        raise Failure("url", f"it is no URL: {error}") from error
    if url.scheme not in _DEFAULT_PORTS:
        raise Failure("url", "only http and https are fetched")
    if url.userinfo:
        raise Failure("url", "it holds a user or password; give it without")
    host = url.raw_host.decode()
    if not (_HOST.fullmatch(host) or (":" in host and "%" not in host)):
        raise Failure("url", f"'{host}' is no host")
    if url.port is not None and not _FIRST_UNRESERVED_PORT <= url.port < 2**16:
        raise Failure("url", f"port {url.port} is not asked; those of http and from 1024 up are")
    return url


class Guard:
    """Says which addresses may be contacted: public ones, and those that are allowed.

    Private, loopback, link-local, multicast and otherwise special addresses are refused, as are
    IPv6 addresses that lead to such an IPv4 address.

    Args:
        allow: Hosts, addresses and networks that may be contacted though they are not public.

    Raises:
        InputError: One of `allow` is neither a host, nor an address, nor a network.
    """

    def __init__(self, allow: Sequence[str] = ()) -> None:
        if isinstance(allow, str):
            raise InputError(f"`allow` is a list; give ['{allow}']")
        self._networks: list[IPv4Network | IPv6Network] = []
        self._hosts: set[str] = set()
        for each in allow:
            try:
                self._networks.append(ip_network(each))
            except ValueError as error:
                host = each.lower().rstrip(".")
                if not _HOST.fullmatch(host):
                    raise InputError(
                        f"'{each}' is no host, address or network to allow: {error}"
                    ) from error
                self._hosts.add(host)

    def permits(self, host: str, address: str) -> bool:
        """Say whether a host may be contacted at an address."""
        target = _target(address)
        return (
            host.rstrip(".") in self._hosts
            or any(target in network for network in self._networks)
            or _is_public(target)
        )

    def check(self, host: str, address: str) -> None:
        """Refuse an address that may not be contacted.

        Args:
            host: The host whose address it is.
            address: The address, as numbers.

        Raises:
            Failure: The address may not be contacted.
        """
        if not self.permits(host, address):
            raise Failure(
                "address",
                f"its host is at {address}, which is not a public address; "
                "if it is meant to be read, `allow` it",
            )


def check_online(host: str) -> None:
    """Refuse a host that RAG_OFFLINE forbids, before it is looked up.

    Raises:
        Failure: The network is off limits, and the host is not surely this machine.
    """
    if not offline() or host.rstrip(".") == "localhost":
        return
    try:
        loopback = ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise Failure("offline", "RAG_OFFLINE is set: nothing is fetched from the network")


def _target(address: str) -> IPv4Address | IPv6Address:
    """Return where packets to an address go: IPv4, if it is an IPv6 spelling of that."""
    parsed = ip_address(address)
    if isinstance(parsed, IPv4Address):
        return parsed
    if parsed.ipv4_mapped:
        return parsed.ipv4_mapped
    if parsed in _NAT64:
        return IPv4Address(int(parsed) & 0xFFFFFFFF)
    return parsed


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if any(address in network for network in _SPECIAL):
        return False
    if isinstance(address, IPv6Address) and address not in _GLOBAL_IPV6:
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved)
