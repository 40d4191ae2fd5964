"""What the system says of the machine."""

from __future__ import annotations

import os

__all__ = ["physical_memory"]


def physical_memory() -> int | None:
    """Bytes of memory that the machine has; `None` where the system does not say."""
    try:
        size, count = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no such function, and some systems not these names
        return None
    return size * count if size > 0 and count > 0 else None  # -1: not known
