"""Writes harness/testmod/own/sizes.h: the sizes of the vmalloc areas of a running machine.

    sudo cat /proc/vmallocinfo | python -m benchmarks.area_sizes > harness/testmod/own/sizes.h

Counts areas with allocated pages (`pages=N` of vmalloc_info_show, mm/vmalloc.c), which excludes
those of ioremap and vmap.
"""

import platform
import re
import sys
from collections import Counter

_PAGES = re.compile(r" pages=([0-9]{1,7})\b")


def render(text: str, release: str) -> str:
    """Return the rows of the table in vmapbench_cases.c, from the text of /proc/vmallocinfo."""
    counts = Counter(int(pages) for pages in _PAGES.findall(text))
    rows = "".join(f"{{ {pages}, {count} }},\n" for pages, count in sorted(counts.items()))
    head = f"/* Pages of an area, number of such areas: {counts.total()} in all, on {release}. */\n"
    return head + rows


if __name__ == "__main__":
    sys.stdout.write(render(sys.stdin.read(), f"Linux {platform.release().split('-')[0]}"))
