"""Takes out of a page of the consoles the links that its reader's role may not follow.

Operations and finance read each other's pages and write their own. It looks at the page as it is sent, so that no
template of a write has to ask who reads it. Pure.
"""

import re
from collections.abc import Callable

_LINK = re.compile(
    r'<a\b(?P<before>[^>]*)\bhref="(?P<path>/(?:ops|finance)/[^"?#]+)[^"]*"(?P<after>[^>]*)>(?P<words>.*?)</a>',
    re.DOTALL,
)
_END = "</main>"


def without_forbidden(page: str, may_open: Callable[[str], bool], note: str) -> str:
    """The page with buttons that lead where the reader may not go left out, and links there as words alone.

    ``note`` is said at its end where anything was taken out.
    """
    taken = False

    def keep(found: re.Match[str]) -> str:
        nonlocal taken
        if may_open(found["path"]):
            return found[0]
        taken = True
        return "" if 'class="button' in found["before"] + found["after"] else found["words"]

    kept = _LINK.sub(keep, page)
    if not taken:
        return page
    before, end, after = kept.rpartition(_END)
    return f'{before}<p class="muted">{note}</p>\n{end}{after}'
