"""Answers a request for a page: the straight line from the request to its bytes (docs/web.md walks it).

Host, form of the request, who reads, whether they may, the page's function, its template, headers, bytes: each step is
one call to a part that can be understood without the others. What goes wrong on the way is a page, too.
"""

import traceback
from collections.abc import AsyncIterator, Iterable
from typing import Any
from urllib.parse import quote, urlencode

import structlog

from router.api.accept import preferred_coding
from router.api.exchange import EXCHANGE, Exchange, Receive, Scope, Send
from router.api.in_process import OperationRefused
from router.api.server.compressed_answer import CompressedAnswer
from router.errors import Refusal
from router.values import Answer as UnreadAnswer
from store.ids import RequestId, wire
from store.postgres import STORE_FAULTS, is_away
from web.access import check_access
from web.answers import Answer, File, Page, Redirect
from web.context import WebContext
from web.faults import InvalidInput, NotFound, PageFault, SignInNeeded, error_page, store_away
from web.fields import Pairs, read_cookies, read_pairs, read_query, too_large
from web.origins import allowed_write
from web.render import Renderer
from web.request import FORM_MEDIA, PageRequest
from web.route import Route, RouteTable
from web.security import Headers, caching, content_policy, security_headers
from web.shell import Shell, Theme, account_navigation, has_shortcuts, navigation, switcher
from web.sign_in.finish import held_of
from web.sign_in.start import start_page
from web.static import Assets
from web.uploads import UPLOAD_MEDIA, read_upload
from web.viewer import NOBODY

log = structlog.get_logger("web")

SIGN_IN = "/sign-in"
SIGN_IN_AGAIN = "/sign-in/again"
# What of a query stays as it is: all that is visible in ASCII.
AS_THEY_ARE = "".join(map(chr, range(0x21, 0x7F)))
PROBES = {"/health": b"ok", "/ready": b"ready"}
HTML = "text/html; charset=utf-8"
# Of a form that is too large: until here it is said which field is, and so much of it is read at all.
EXPLAINED_BYTES_MAX, READ_BYTES_MAX = 2 * 1024 * 1024, 16 * 1024 * 1024


class _Reading:
    """What is known of a request so far: an error's page shows as much as there is."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.viewer = NOBODY
        self.route: Route | None = None
        self.request: PageRequest | None = None
        self.cookies = dict[str, str]()


class WebApp:
    """The ASGI application of `gigarouter web`. ``record`` gets every exchange when it is over."""

    def __init__(self, context: WebContext, routes: Iterable[Route], record: Any = lambda _: None) -> None:  # noqa: ANN401
        self._context = context
        self._table = RouteTable(row for row in routes if context.has_workshop or not row.only_workshop)
        self._paths = frozenset(row.path for row in self._table.routes if row.show)
        self._assets = Assets.read()
        self._renderer = Renderer(reloads=context.reloads_templates)
        self._headers = security_headers(context.origins, content_policy(context.checkout_origins))
        self._record = record

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One HTTP request."""
        if scope["type"] != "http":
            return
        exchange = Exchange(scope, self._context.clock.now())
        scope[EXCHANGE] = exchange
        if exchange.accept_encoding and (coding := preferred_coding(exchange.accept_encoding)) is not None:
            send = CompressedAnswer(send, coding, exchange)
        try:
            if exchange.path in PROBES:
                await self._probe(exchange, send)
            else:
                await self._answer(scope, receive, exchange, send)
        finally:
            self._record(exchange)

    def refuse_unread(self, refusal: Refusal, request_id: RequestId) -> UnreadAnswer:
        """The page for what never became a request, such as a head that is too large."""
        page = error_page(refusal, wire(RequestId, request_id))
        shell = Shell(
            viewer=NOBODY,
            assets=self._current_assets(),
            path="/",
            here="/",
            request_id=page.request_id,
            public_url=self._context.origins.public,
            api_url=self._context.api_url,
            nav=navigation(self._paths, "/", NOBODY),
        )
        body = self._renderer.render(page, shell)
        headers = [*self._headers, *caching(is_personal=True, cache=None), (b"content-type", HTML.encode())]
        headers.append((b"content-length", b"%d" % len(body)))
        return UnreadAnswer(status=page.status, headers=headers, body=(body,))

    async def _answer(self, scope: Scope, receive: Receive, exchange: Exchange, send: Send) -> None:
        reading = _Reading(exchange)
        try:
            answer = await self._page(scope, receive, reading)
            body = self._body(answer, reading)
        except SignInNeeded as needed:
            answer = self._sign_in(reading, again=needed.again)
            body = self._body(answer, reading)
        except (PageFault, OperationRefused, Refusal) as fault:
            answer = error_page(fault, wire(RequestId, exchange.request_id))
            body = self._body(answer, reading)
        except STORE_FAULTS as fault:
            answer = error_page(self._store_fault(fault, exchange), wire(RequestId, exchange.request_id))
            body = self._body(answer, reading)
        except Exception as fault:  # noqa: BLE001 - the edge is where the unexpected ends
            _log_unexpected(fault, exchange)
            answer = error_page(fault, wire(RequestId, exchange.request_id))
            body = self._body(answer, reading)
        await self._send(answer, body, reading, send)

    async def _page(self, scope: Scope, receive: Receive, reading: _Reading) -> Answer:
        """The straight line: each step raises what ends the request."""
        context, exchange = self._context, reading.exchange
        headers = dict(scope["headers"])
        self._check_host(headers)
        if exchange.path.startswith("/assets/"):
            return self._current_assets().find(exchange.path)
        if exchange.path.isprintable() and (page := self._table.without_slash(exchange.path)) is not None:
            # Whoever may not have the page is told so there: what is there is not looked at.
            return Redirect(to=page + _query_of(exchange), status=308)
        route, values = self._route(exchange)
        if exchange.method == "OPTIONS":
            return File(body=b"", media="text/plain", status=204, headers=(("allow", ", ".join(route.methods)),))
        reading.route = route
        if not route.any_origin:
            self._check_write(exchange, headers)
        reading.cookies = dict(read_cookies(scope["headers"]))
        query = read_query(exchange.query)
        form = await _form(receive, headers, route) if exchange.method == "POST" else ()
        reading.viewer = await context.find_viewer(reading.cookies, context.reads, exchange.now)
        reading.request = PageRequest(
            exchange,
            context,
            reading.viewer,
            values=values,
            query=query,
            form=form,
            cookies=reading.cookies,
            client=self._client(scope, headers),
            is_page=self._table.is_page,
            is_form=self._table.is_form,
        )
        reading.request.account_id = check_access(route, reading.viewer, values, exchange.now, exchange.method)
        function = route.function(exchange.method)
        assert function is not None, "its row has this method; this is a bug"
        return await function(reading.request)

    def _check_host(self, headers: dict[bytes, bytes]) -> None:
        if not self._context.origins.has_host(headers.get(b"host", b"").decode("latin-1")):
            raise PageFault(
                421,
                "misdirected_request",
                "These pages are not at the address by which you came.",
                remedy=f"They are at {self._context.origins.public}.",
            )

    def _route(self, exchange: Exchange) -> tuple[Route, dict[str, str]]:
        # No name of ours has a control character, and PostgreSQL takes no NUL.
        found = self._table.find(exchange.path) if exchange.path.isprintable() else None
        if found is None:
            raise NotFound
        route, values = found
        exchange.operation = route.path
        if exchange.method != "OPTIONS" and route.function(exchange.method) is None:
            allow = ", ".join(route.methods)
            raise PageFault(405, "method_not_allowed", f"This address takes {allow}.", headers=(("allow", allow),))
        return route, values

    def _check_write(self, exchange: Exchange, headers: dict[bytes, bytes]) -> None:
        site = headers.get(b"sec-fetch-site", b"").decode("latin-1")
        origin = headers.get(b"origin", b"").decode("latin-1")
        if not allowed_write(exchange.method, site, origin, self._context.origins):
            raise PageFault(
                403,
                "cross_site_request",
                "This form was not sent by a page of ours, so nothing was done.",
                remedy="Open the page here and send its form.",
            )

    def _client(self, scope: Scope, headers: dict[bytes, bytes]) -> str:
        peer = scope["client"][0] if scope.get("client") else ""
        return self._context.origins.client(peer, headers.get(b"x-forwarded-for", b"").decode("latin-1"))

    def _sign_in(self, reading: _Reading, *, again: bool) -> Answer:
        """To sign in, and back to the page where it was; a form that was posted goes along, and is sent after it."""
        exchange = reading.exchange
        if reading.request is not None and exchange.method == "POST" and SIGN_IN in self._paths:
            return start_page(reading.request, held_of(reading.request), again=again, status=403 if again else 401)
        here = exchange.path
        if exchange.method != "POST" and exchange.query:
            here += "?" + exchange.query.decode("latin-1")
        to = SIGN_IN_AGAIN if again else SIGN_IN
        if to not in self._paths:
            return error_page(PageFault(401, "sign_in_needed", "This page is for who is signed in."), "")
        return Redirect(to=f"{to}?{urlencode({'next': here})}")

    def _body(self, answer: Answer, reading: _Reading) -> bytes | AsyncIterator[bytes]:
        match answer:
            case Page():
                return self._renderer.render(answer, self._shell(reading))
            case File():
                return answer.body
            case Redirect():
                return b""

    def _shell(self, reading: _Reading) -> Shell:
        exchange = reading.exchange
        viewer = reading.viewer if reading.request is None else reading.request.viewer
        account_id = reading.request.account_id if reading.request is not None else None
        membership = None if account_id is None else viewer.membership(account_id)
        here = exchange.path + (f"?{exchange.query.decode('latin-1')}" if exchange.query else "")
        return Shell(
            viewer=viewer,
            assets=self._current_assets(),
            path=exchange.path,
            here=here if self._table.is_page(here) else "/",
            request_id=wire(RequestId, exchange.request_id),
            public_url=self._context.origins.public,
            api_url=self._context.api_url,
            theme=_theme(reading.cookies),
            has_shortcuts=has_shortcuts(reading.cookies),
            nav=navigation(self._paths, exchange.path, viewer),
            account=membership,
            sections=() if membership is None else account_navigation(self._paths, exchange.path, membership),
            accounts=() if membership is None else switcher(exchange.path, viewer, membership),
            view=None if viewer.staff is None else viewer.staff.view,
        )

    def _current_assets(self) -> Assets:
        return Assets.read() if self._context.reloads_templates else self._assets

    async def _send(self, answer: Answer, body: bytes | AsyncIterator[bytes], reading: _Reading, send: Send) -> None:
        exchange = reading.exchange
        exchange.status = answer.status
        exchange.holds_secret = not isinstance(answer, Redirect) and answer.holds_secret
        headers = [*self._headers, *_headers_of(answer, reading), (b"x-request-id", _id(exchange))]
        if isinstance(body, bytes):
            headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        if isinstance(body, bytes):
            await send({"type": "http.response.body", "body": body})
            return
        async for piece in body:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async def _probe(self, exchange: Exchange, send: Send) -> None:
        """Whether the process runs, and whether its memory follows Postgres: for supervisors, by any Host."""
        exchange.operation = exchange.path
        is_well = exchange.path == "/health" or self._context.reads.keys.is_fresh(exchange.now)
        exchange.status = 200 if is_well else 503
        headers = [(b"content-type", b"text/plain"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": exchange.status, "headers": headers})
        await send({"type": "http.response.body", "body": PROBES[exchange.path] if is_well else b"not ready"})

    def _store_fault(self, fault: Exception, exchange: Exchange) -> Exception:
        if is_away(fault):
            return store_away()
        _log_unexpected(fault, exchange)
        return fault


def _id(exchange: Exchange) -> bytes:
    return wire(RequestId, exchange.request_id).encode()


def _query_of(exchange: Exchange) -> str:
    """The query as it came, with its question mark, as a header can have it."""
    return f"?{quote(exchange.query, safe=AS_THEY_ARE)}" if exchange.query else ""


def _theme(cookies: dict[str, str]) -> Theme:
    match cookies.get("theme"):
        case "light":
            return "light"
        case "dark":
            return "dark"
        case _:
            return ""


async def _form(receive: Receive, headers: dict[bytes, bytes], route: Route) -> Pairs:
    """The posted fields. Raises ``InvalidInput``, ``PageFault`` 413.

    Of a form that is too large the rest is read, too: a browser whose bytes nobody takes shows no answer.
    """
    content_type = headers.get(b"content-type", FORM_MEDIA)
    media = content_type.partition(b";")[0].strip().lower()
    has_files = route.takes_files and media == UPLOAD_MEDIA
    if media != FORM_MEDIA and not has_files:
        raise InvalidInput("A form is sent as application/x-www-form-urlencoded.")
    body, size, has_more = bytearray(), 0, True
    while has_more and size <= READ_BYTES_MAX:
        message = await receive()
        piece = message.get("body", b"")
        size += len(piece)
        body += piece if size <= max(route.body_bytes_max, EXPLAINED_BYTES_MAX) else b""
        has_more = message.get("more_body", False)
    if size > route.body_bytes_max:
        raise too_large(b"" if has_files or len(body) < size else bytes(body), route.body_bytes_max)
    return read_upload(content_type, bytes(body)) if has_files else read_pairs(bytes(body), "form")


def _headers_of(answer: Answer, reading: _Reading) -> Headers:
    is_personal = reading.viewer.is_known or (reading.route is not None and reading.route.who != "anyone")
    cache = answer.cache if isinstance(answer, File) else None
    if cache is not None:
        headers = [(b"cache-control", cache.encode())]
    else:
        is_kept = not isinstance(answer, Redirect) and not answer.holds_secret and answer.status < 400
        headers = caching(is_personal=is_personal or not is_kept, cache=None)
    match answer:
        case Redirect():
            headers.append((b"location", answer.to.encode("ascii", "replace")))
        case Page():
            headers.append((b"content-type", HTML.encode()))
        case File():
            headers.append((b"content-type", answer.media.encode()))
            if answer.name is not None:
                headers.append(
                    (b"content-disposition", f'attachment; filename="{answer.name}"'.encode("ascii", "replace"))
                )
    if not isinstance(answer, Redirect):
        headers += [(name.encode(), value.encode("latin-1", "replace")) for name, value in answer.headers]
    if not isinstance(answer, File):
        headers += [(b"set-cookie", cookie.encode("latin-1")) for cookie in answer.cookies]
    return headers


def _log_unexpected(fault: Exception, exchange: Exchange) -> None:
    """Log a fault by its type and place, never by its message: that may hold input or secrets."""
    place = [
        f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno} {frame.name}"
        for frame in traceback.extract_tb(fault.__traceback__)[-8:]
    ]
    log.error("unexpected", request_id=_id(exchange).decode(), fault=type(fault).__qualname__, place=place)
