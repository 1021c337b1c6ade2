"""Pages of a list: the answer, and the Link header (RFC 8288) that leads to the next page."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from fastapi import Request, Response

from router.api.exchange import EXCHANGE, Exchange
from router.api.forms import Answer, Page, PageQuery, closed

A = TypeVar("A", bound=Answer)
P = TypeVar("P", bound=Page[Any])


class Paging:
    """The pages of one request's list."""

    def __init__(self, request: Request, response: Response) -> None:
        exchange: Exchange = request.scope[EXCHANGE]
        # As a header may repeat it: a name in it is anything.
        self.path = quote(exchange.path, safe="/:")
        self._query, self._response = request.query_params, response

    def page(self, query: PageQuery, rows: Sequence[A], key: Callable[[A], str]) -> Page[A]:
        """A page from up to one row more than asked for: that there is one tells that there is more.

        ``key`` is what the rows are sorted by.
        """
        has_more = len(rows) > query.limit
        rows = rows[: query.limit]
        cursor = closed(key(rows[-1])) if has_more else None
        # Its rows are answers already, so which parameter the page has is the annotation's matter.
        return self.linked(Page[Any](data=list(rows), has_more=has_more, next_cursor=cursor))

    def linked(self, page: P) -> P:
        """The page, with a Link header where there is another one."""
        if page.next_cursor is not None:
            following = urlencode({**dict(self._query), "cursor": page.next_cursor})
            self._response.headers["link"] = f'<{self.path}?{following}>; rel="next"'
        return page
