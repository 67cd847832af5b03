from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from sse_starlette import ServerSentEvent

from farm.eventstream import EventStreamDecoder

# What JSON may hold, with the characters that str.splitlines() splits at and JSON does not escape.
DATA = st.text(st.characters(exclude_categories=("Cs", "Cc")) | st.sampled_from("\u2028\u2029\u0085"), min_size=1)


def cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(edge % (len(stream) + 1) for edge in cuts), len(stream)]
    return [stream[a:b] for a, b in pairwise(edges)]


@given(st.lists(DATA, max_size=5), st.lists(st.integers(0), max_size=12), st.sampled_from(["\r\n", "\n"]))
def test_whatever_the_server_library_encodes_comes_out_whole_for_any_chunks(messages, cuts, line_end):
    stream = b"".join(
        ServerSentEvent(data, id=str(seq), event="job", sep=line_end).encode() for seq, data in enumerate(messages)
    )
    decoder = EventStreamDecoder()
    assert [data for chunk in cut(stream, cuts) for data in decoder.feed(chunk)] == messages


@given(st.lists(st.integers(0), max_size=12))
def test_comments_other_fields_and_unfinished_messages_give_nothing(cuts):
    stream = b": ping\r\n\r\nretry: 3\r\n\r\ndata: a\rdata:b\r\rid\n\ndata: cut off"
    decoder = EventStreamDecoder()
    assert [data for chunk in cut(stream, cuts) for data in decoder.feed(chunk)] == ["a\nb"]
