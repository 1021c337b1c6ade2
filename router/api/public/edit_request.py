"""Holds a customer's request that edits what somebody else may have changed since it was read: it needs If-Match."""

from typing import Annotated, ClassVar

from fastapi import Depends, Header, Request, Response

from router.api.admin.request import match_version
from router.api.dependencies import depend_on
from router.api.forms import Resource
from router.api.operation import check_request
from router.api.public.request import PrivateRequest
from router.errors import PreconditionRequired


class _EditRequest(PrivateRequest):
    """One that names the version that was read; a key for tests, a management key and a member may send it."""

    edits: ClassVar[bool] = True

    def __init__(
        self,
        request: Request,
        response: Response,
        _checked: Annotated[None, Depends(check_request)],
        if_match: Annotated[
            str | None,
            Header(
                alias="If-Match",
                description="The ETag that you read; 409 version_conflict where it is another now. 428 without one.",
            ),
        ] = None,
    ) -> None:
        super().__init__(request, response)
        if if_match is None:
            raise PreconditionRequired(
                "Send If-Match with the ETag that you read, so that nobody else's change is overwritten unseen.",
                param="If-Match",
            )
        self._expected, self._response = if_match, response

    def require_version(self, now: Resource) -> None:
        """Raise ``VersionConflict`` where it is another than was read."""
        match_version(self._expected, now)

    def tagged(self, answer: Resource) -> None:
        """Let the answer's version go out with it."""
        self._response.headers["etag"] = answer.etag()


EditRequest = Annotated[_EditRequest, depend_on(_EditRequest)]
