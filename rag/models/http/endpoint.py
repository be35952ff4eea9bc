"""Where a server is, and with which key it is asked."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import urlsplit

from rag.core.errors import InputError


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server's address and the key it is asked with.

    Args:
        base: The base URL, without a slash at its end.
        key: The API key; '' for none.
        key_env: The environment variable that holds the key.
    """

    base: str
    key: str = field(repr=False)
    key_env: str

    @property
    def root(self) -> str:
        """The URL of what servers offer beside the OpenAI interface."""
        return self.base.removesuffix("/v1")

    def redacted(self, text: str) -> str:
        """Return a text without the key."""
        return text.replace(self.key, f"[{self.key_env}]") if self.key else text


def endpoint(base_url: str, key_env: str) -> Endpoint:
    """Return where and how a server is asked.

    Args:
        base_url: http or https address, as a rule ending in '/v1'.
        key_env: Environment variable that may hold an API key.

    Raises:
        InputError: The address cannot be used, or the key would travel in the clear.
    """
    url = urlsplit(base_url)
    if url.username is not None or url.password is not None:
        instead = f"; put the key into {key_env}" if key_env else ""
        raise InputError(f"the base URL holds a user or password{instead}")
    if url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment:
        raise InputError(f"'{base_url}' is no base URL; give one such as http://127.0.0.1:8000")
    key = os.environ.get(key_env, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise InputError(f"the key in {key_env} has characters that cannot be sent in a header")
    if key and url.scheme == "http" and not is_loopback(base_url):
        raise InputError(
            f"the key in {key_env} would travel unencrypted to {url.hostname}: "
            f"use https, or unset {key_env}"
        )
    return Endpoint(base_url.rstrip("/"), key, key_env)


def is_loopback(url: str) -> bool:
    """Say whether a URL leads to this machine and nowhere else."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
