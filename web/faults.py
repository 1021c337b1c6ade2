"""The errors of the pages beside those of the API, and the value of the page that shows any of them."""

from router.api.error_envelope import row
from router.api.in_process import OperationRefused
from router.errors import Refusal, StoreUnavailable
from web.answers import Headers, Page

NOT_FOUND = "There is nothing here for you at this address. It may never have been, or it is not yours to see."
WRONG_INPUT = "invalid_request"


class PageFault(Exception):
    """Ends a request with a page that says what is wrong: status, the API's code, a sentence, what to do next."""

    def __init__(
        self, status: int, code: str, message: str, *, param: str | None = None, remedy: str = "", headers: Headers = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.remedy = remedy
        self.headers = headers


class NotFound(PageFault):
    """No such page, no such thing, or one that this reader may not see: the answer is the same."""

    def __init__(self) -> None:
        super().__init__(404, "not_found", NOT_FOUND)


class InvalidInput(PageFault):
    """A query or form that cannot be read."""

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(400, WRONG_INPUT, message, param=param, remedy="Go back and change it.")


class SignInNeeded(Exception):
    """The reader is nobody, and the page is for somebody; or the sign-in is too long ago (``again``)."""

    def __init__(self, *, again: bool = False) -> None:
        super().__init__("sign in")
        self.again = again


class ErrorPage(Page, frozen=True, kw_only=True):
    """The page of an error."""

    template = "parts/error.html"

    code: str
    message: str
    request_id: str
    remedy: str = ""
    param: str | None = None
    retries: bool = False


def error_page(fault: Exception, request_id: str) -> ErrorPage:
    """The page that shows a fault: a refusal of the API's, an operation's, a page's, or anything else as a 500."""
    match fault:
        case PageFault():
            return ErrorPage(
                title=_title(fault.status),
                status=fault.status,
                code=fault.code,
                message=fault.message,
                remedy=fault.remedy,
                param=fault.param,
                request_id=request_id,
                retries=fault.status >= 500,
                headers=fault.headers,
            )
        case OperationRefused():
            return _of_operation(fault, request_id)
        case Refusal():
            status = row(fault).status
            return ErrorPage(
                title=_title(status),
                status=status,
                code=fault.code,
                message=fault.message,
                param=fault.param,
                request_id=request_id,
                retries=status >= 500 or status == 429,
            )
        case _:
            return ErrorPage(
                title=_title(500),
                status=500,
                code="internal_error",
                message="Something went wrong on our side. If it happens again, tell us the request id.",
                request_id=request_id,
                retries=True,
            )


def _of_operation(refused: OperationRefused, request_id: str) -> ErrorPage:
    # A thing that somebody else has and one that nobody has look the same here, as they do in the API.
    return ErrorPage(
        title=_title(refused.status),
        status=refused.status,
        code=refused.error.code or WRONG_INPUT,
        message=NOT_FOUND if refused.status == 404 else refused.error.message,
        param=refused.error.param,
        request_id=refused.error.request_id or request_id,
        retries=refused.status >= 500 or refused.status == 429,
        headers=() if refused.retry_after_s is None else (("retry-after", str(refused.retry_after_s)),),
    )


def store_away() -> StoreUnavailable:
    """The refusal for a page that cannot be read while Postgres is away."""
    return StoreUnavailable("The database cannot be reached. Nothing is lost; try again shortly.", retry_after_s=2.0)


TITLES = {
    400: "That cannot be read",
    401: "Sign in first",
    403: "Not for your role",
    404: "Nothing here",
    405: "Not that way",
    409: "It was changed meanwhile",
    413: "Too much at once",
    421: "Another address",
    429: "Too often",
    431: "Too much at once",
    503: "Not at the moment",
}


def _title(status: int) -> str:
    return TITLES.get(status, "Something went wrong" if status >= 500 else "That was refused")
