"""Parameters of the live page, and the error that ends it."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from dataclasses import dataclass
from typing import Sequence

from esr_core.errors import EsrError, OptionError
from esr_core.options import check, option

#: Time that the charts show.
HISTORY_S = 60
#: Fewer characters could be guessed.
SHORTEST_TOKEN = 8


class DashboardError(EsrError):
    """Report that the page cannot be served: aiohttp is missing, or the address is in use."""


@dataclass(frozen=True)
class DashboardOptions:
    """Options of the live page; each field is a ROS parameter."""

    host: str = option(
        "127.0.0.1",
        "Address on which the page is served. 0.0.0.0: on all networks of this machine; a token "
        "is then required.",
    )
    port: int = option(8080, "Port of the page. 0: any free one, which is logged.", (0, 65535))
    token: str = option(
        "",
        "Token that the address of the page must have, at least 8 characters. Empty: none for a "
        "local host, otherwise a random one, which is logged.",
    )
    rate_hz: float = option(
        10.0, "Highest rate of pictures and values of each camera, in Hz.", (0.5, 30.0)
    )
    picture_width_px: int = option(
        640, "Largest width of a picture; wider ones are reduced.", (64, 4096)
    )
    emotion_topics: Sequence[str] = option(
        ("*",), "Patterns of the emotion topics to show, such as /left/*; by default all."
    )

    def __post_init__(self) -> None:
        check(self)
        if not self.host:
            raise OptionError("host must be an address such as 127.0.0.1, but is empty")
        if 0 < len(self.token) < SHORTEST_TOKEN:
            raise OptionError(f"token must have at least {SHORTEST_TOKEN} characters")

    @property
    def is_local(self) -> bool:
        """Return whether only this machine can reach the page."""
        return is_local_name(self.host)


def is_local_name(host: str) -> bool:
    """Return whether a host name or address is always that of this machine."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host.lower() == "localhost"
