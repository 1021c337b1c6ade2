"""Builds a route of FastAPI's when its first request comes, or when somebody reads its types.

To compile the types of path, query, body and answer takes some milliseconds for a route, and half a second for all
operations together: that was a third of what every start of a process took.
"""

from collections.abc import Callable
from typing import Any, Self

from fastapi import params
from fastapi.routing import APIRoute
from starlette.routing import Match, compile_path
from starlette.types import Scope
from typing_extensions import override


class LateRoute(APIRoute):
    """A route that has what the search for one needs and its name, and builds the rest when it is missed."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:  # noqa: ANN401 - FastAPI's own
        self.path, self.endpoint, self.methods = path, endpoint, set(options["methods"])
        self.operation_id = options["operation_id"]
        self._options, self._is_built = options, False
        self._before_places = path.partition("{")[0]

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever FastAPI keeps
        """Builds what is missed: the pattern of the path for the search, or all."""
        if name.startswith("__") or self.__dict__.get("_is_built", True):
            raise AttributeError(f"a route has no {name}")
        if name in ("path_regex", "path_format", "param_convertors"):
            self.path_regex, self.path_format, self.param_convertors = compile_path(self.path)
        else:
            self._is_built = True
            super().__init__(self.path, self.endpoint, **self._options)
        return getattr(self, name)

    def behind(self, check: params.Depends) -> Self:
        """The same route with a dependency before all others."""
        options = {**self._options, "dependencies": [check, *self._options["dependencies"]]}
        return type(self)(self.path, self.endpoint, **options)

    @override
    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Compares the part of the path that is fixed, then the pattern. Nothing is mounted: the path is whole."""
        if not scope["path"].startswith(self._before_places):
            return Match.NONE, {}
        return super().matches(scope)
