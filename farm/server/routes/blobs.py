"""Files by content hash: uploads of models, downloads of artifacts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse

from farm.errors import NotFoundError, TooLargeError
from farm.server.auth import BlobReader, BlobWriter
from farm.server.limits import while_it_flows
from farm.server.problems import documented
from farm.server.resources import Farm
from farm.server.route import Route
from farm.store.artifacts import CHUNK_BYTES, ArtifactStore
from farm.types import Blob, FileName, Role, Sha256

router = APIRouter(prefix="/blobs", tags=["blobs"], route_class=Route)

MEDIA_TYPE = "application/octet-stream"
_RAW: dict[str, object] = {"content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}}


@router.put(
    "/{sha256}",
    status_code=201,
    responses=documented(TooLargeError),
    openapi_extra={"requestBody": {"required": True, **_RAW}},
)
async def upload(
    sha256: Sha256, name: Annotated[FileName, Query()], request: Request, farm: Farm, caller: BlobWriter
) -> Blob:
    """Store the raw body, streamed. Idempotent. Refused if its hash is not the announced one.

    What agents send are outputs on labelled sets: they may send no more than these may have.
    """
    of_agent = caller.role is Role.AGENT
    limit = farm.settings.max_evaluation_bytes if of_agent else farm.settings.max_upload_bytes
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > limit:
        raise TooLargeError(
            f"{name} is larger than the {limit:,} bytes this farm accepts.",
            remedy="Make it smaller, or have the operator raise "
            f"{'max_evaluation_bytes' if of_agent else 'max_upload_bytes'}.",
        )
    chunks = while_it_flows(request.stream())
    return await farm.artifacts.put_stream(chunks, name, expect_sha256=sha256, max_bytes=limit)


@router.head("/{sha256}", responses=documented(NotFoundError))
def exists(sha256: Sha256, farm: Farm, caller: BlobReader) -> Response:
    """Its size as Content-Length."""
    return Response(headers={"Content-Length": str(farm.artifacts.size_bytes(sha256))}, media_type=MEDIA_TYPE)


@router.get("/{sha256}", response_class=Response, responses={200: _RAW, **documented(NotFoundError)})
def download(sha256: Sha256, farm: Farm, caller: BlobReader) -> Response:
    """The file, streamed."""
    if path := farm.artifacts.local_path(sha256):
        return FileResponse(path, media_type=MEDIA_TYPE)
    size = farm.artifacts.size_bytes(sha256)
    return StreamingResponse(
        _chunks(farm.artifacts, sha256), headers={"Content-Length": str(size)}, media_type=MEDIA_TYPE
    )


def _chunks(artifacts: ArtifactStore, sha256: str) -> Iterator[bytes]:
    with artifacts.open(sha256) as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
