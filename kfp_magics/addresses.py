"""Addresses of machines."""

from __future__ import annotations

import ipaddress


def is_loopback(name: str) -> bool:
    """Whether a host, without a port or brackets, is this machine."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
