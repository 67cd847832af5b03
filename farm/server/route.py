"""How routes answer."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from fastapi import Response
from fastapi.routing import APIRoute


class Route(APIRoute):
    """Makes the JSON of an answer in the thread that worked the answer out.

    FastAPI would check it in another thread and make the JSON on the event loop, where every other request waits for
    it; and each change of threads costs a request milliseconds on a machine that is busy.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **kwargs: Any) -> None:
        super().__init__(path, endpoint, **kwargs)
        if self.response_field is not None and not inspect.iscoroutinefunction(endpoint):
            self.dependant.call = self._answering(endpoint)

    def _answering(self, endpoint: Callable[..., Any]) -> Callable[..., Response]:
        @functools.wraps(endpoint)
        def answer(*args: Any, **kwargs: Any) -> Response:
            assert self.response_field is not None  # noqa: S101 - for the type checker
            found = endpoint(*args, **kwargs)
            if isinstance(found, Response):
                return found
            content = self.response_field.serialize_json(found)
            return Response(content, self.status_code or 200, media_type="application/json")

        return answer
