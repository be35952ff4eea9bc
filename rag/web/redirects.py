"""Where redirects lead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rag.web.addresses import parse_url
from rag.web.failures import Failure

if TYPE_CHECKING:
    import httpx2

MAX_REDIRECTS = 5
REDIRECTS = frozenset((301, 302, 303, 307, 308))


class Route:
    """The URLs at which something is looked for, one after the other.

    What was asked for over https is not looked for over http: on its way anyone could have put
    something else in its place.

    Attributes:
        url: The URL to ask now.

    Args:
        url: The first URL.
    """

    def __init__(self, url: httpx2.URL) -> None:
        self.url = url
        self._visited = {url}

    @property
    def moved(self) -> bool:
        """Whether it is another one than the first."""
        return len(self._visited) > 1

    def follow(self, location: str) -> None:
        """Go on to where a redirect leads.

        Args:
            location: The reply's, absolute or not; '' if there is none.

        Raises:
            Failure: It leads nowhere, in a circle, or too far, or to what is no page's URL.
        """
        if not location:
            raise Failure("redirects", "it redirects without saying where to")
        target = parse_url(location, self.url)
        if target in self._visited:
            raise Failure("redirects", f"it redirects in a circle, to {target}")
        if len(self._visited) > MAX_REDIRECTS:
            raise Failure("redirects", f"it redirects more than {MAX_REDIRECTS} times")
        if self.url.scheme == "https" and target.scheme == "http":
            raise Failure("redirects", f"it redirects from https to {target}, which is not secure")
        self._visited.add(target)
        self.url = target
