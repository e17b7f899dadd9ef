"""How numbers with units are written for people."""

from __future__ import annotations


def iec_bytes(n: int | None) -> str:
    """A number of bytes in powers of 1024; nothing for one that is not known.

    >>> iec_bytes(1536)
    '1.50 KiB'
    """
    if n is None:
        return ""
    for unit, power in (("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if n >= 1 << power:
            return f"{n / (1 << power):,.2f} {unit}"
    return f"{n} B"
