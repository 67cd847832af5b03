"""The message of remote write, read back by a decoder of its own."""

from __future__ import annotations

import struct
from datetime import UTC, datetime

from hypothesis import example, given
from hypothesis import strategies as st

from farm.metrics.remotewrite import encode
from farm.types import Point, Publication

names = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True)
labels = st.dictionaries(names, st.text(st.characters(codec="utf-8"), max_size=300), max_size=5)
points = st.builds(Point, name=names, value=st.floats(allow_nan=False), labels=labels)
times = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC))


def fields(message: bytes) -> list[tuple[int, object]]:
    """Number and value of each field of a protobuf message (wire types varint, 64-bit, length-delimited)."""
    found: list[tuple[int, object]] = []
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = varint()
        if key & 7 == 2:
            size = varint()
            found.append((key >> 3, message[at : at + size]))
            at += size
        elif key & 7 == 1:
            found.append((key >> 3, struct.unpack("<d", message[at : at + 8])[0]))
            at += 8
        else:
            assert key & 7 == 0
            found.append((key >> 3, varint()))
    assert at == len(message)
    return found


@given(times, labels, st.lists(points, max_size=4))
@example(datetime(2026, 1, 1, tzinfo=UTC), {"a": "0"}, [Point(name="b", value=0.0, labels={"a": ""})])
def test_what_is_written_can_be_read(at: datetime, common: dict[str, str], given_points: list[Point]) -> None:
    publication = Publication(kind="result", subject=1, at=at, labels=common, points=tuple(given_points))
    read = []
    for number, series in fields(encode([publication])):
        assert number == 1
        assert isinstance(series, bytes)
        pairs, samples = [], []
        for kind, content in fields(series):
            assert isinstance(content, bytes)
            (pairs if kind == 1 else samples).append(dict(fields(content)))
        texts = [(pair[1].decode(), pair[2].decode()) for pair in pairs]
        assert texts == sorted(texts)
        ((value, milliseconds),) = [(sample[1], sample[2]) for sample in samples]
        read.append((dict(texts), value, milliseconds))
    expected = [
        (
            {name: text for name, text in {**common, **point.labels}.items() if text} | {"__name__": point.name},
            point.value,
            round(at.timestamp() * 1000),
        )
        for point in given_points
    ]
    assert read == expected
