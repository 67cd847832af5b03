"""What the head may be made to read: the paths and addresses that settings name, however a source spells them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.config import load
from farm.errors import ConfigError, FarmError, ForbiddenError, NotFoundError, UserError
from farm.sweeps.sources.allowed import check_path, check_url, local_path

PREFIXES = ("s3://models/nightly", "https://Models.example.org", "http://127.0.0.1:9000/net/")


@pytest.mark.parametrize(
    "url",
    [
        "s3://models/nightly/net.pt2",
        "https://models.example.org/anything/net.pt2",
        "https://models.example.org/net.pt2?version=3",
        "http://127.0.0.1:9000/net/1/model.onnx",
    ],
)
def test_what_lies_below_an_allowed_address_may_be_read(url: str) -> None:
    check_url(url, PREFIXES)


@pytest.mark.parametrize(
    "url",
    [
        "s3://models/nightly-secrets/net.pt2",
        "s3://models/net.pt2",
        "s3://others/nightly/net.pt2",
        "s3://models/nightly/../secrets/net.pt2",
        "s3://models/nightly/%2e%2e/secrets/net.pt2",
        "s3://models/nightly/%252e%252e/secrets/net.pt2",
        "http://models.example.org/net.pt2",
        "https://models.example.org.evil.net/net.pt2",
        "https://models.example.org:8443/net.pt2",
        "https://evil.net/models.example.org/net.pt2",
        "http://127.0.0.1:9000/admin",
        "http://169.254.169.254/latest/meta-data",
        "memory://net.pt2",
    ],
)
def test_what_does_not_is_refused(url: str) -> None:
    with pytest.raises(ForbiddenError, match="sweep_model_urls"):
        check_url(url, PREFIXES)


@pytest.mark.parametrize(
    "url",
    [
        "https://models.example.org@evil.net/net.pt2",
        "https://user:secret@models.example.org/net.pt2",
        "simplecache::https://models.example.org/net.pt2",
        "local:///etc/passwd",
        "zip://x::file:///etc/passwd",
        "https://models.example.org\\@evil.net/",
        "https://models.example.org/a b",
        "https:///net.pt2",
        "https://[bad/net.pt2",
    ],
)
def test_an_address_that_readers_may_understand_differently_is_refused(url: str) -> None:
    with pytest.raises(UserError) as refused:
        check_url(url, PREFIXES)
    assert "secret" not in str(refused.value)


@given(st.text(max_size=60))
def test_nothing_is_allowed_unless_a_setting_says_so(text: str) -> None:
    with pytest.raises(FarmError):
        check_url(text, ())


@given(st.lists(st.sampled_from(["..", ".", "a", "%2e%2e", "%2E.", "", "b%2f.."]), max_size=6))
def test_no_spelling_leads_out_of_the_folder(parts: list[str]) -> None:
    url = "s3://models/nightly/" + "/".join(parts)
    try:
        check_url(url, ("s3://models/nightly",))
    except ForbiddenError:
        return
    assert not any("." in part or "%2" in part.lower() for part in parts)


@pytest.mark.parametrize(
    "text", ["/etc/passwd", "/models/../etc/passwd", "file:///etc/passwd", "file:///models/%2e%2e/etc"]
)
def test_a_path_outside_of_the_folders_is_refused_before_anybody_learns_whether_it_is_there(
    text: str, tmp_path
) -> None:
    path = local_path(text)
    assert path is not None
    with pytest.raises(ForbiddenError, match="sweep_model_dirs"):
        check_path(path, [tmp_path])
    with pytest.raises(ForbiddenError):
        check_path(path, [])


def test_links_are_followed_before_the_folder_is_looked_at(tmp_path: Path) -> None:
    inside, outside = tmp_path / "models", tmp_path / "secrets"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "net.pt2").write_text("net")
    (inside / "out.pt2").symlink_to(outside / "net.pt2")
    (inside / "folder").symlink_to(outside)
    (inside / "in.pt2").symlink_to(inside / "net.pt2")
    (inside / "circle").symlink_to(inside / "circle")
    assert check_path(inside / "in.pt2", [inside]) == inside / "net.pt2"
    for name in ("out.pt2", "folder/net.pt2", "../secrets/net.pt2"):
        with pytest.raises(ForbiddenError):
            check_path(inside / name, [inside])
    with pytest.raises(UserError):
        check_path(inside / "circle", [inside])
    with pytest.raises(NotFoundError):
        check_path(inside / "none.pt2", [inside])


@pytest.mark.parametrize("text", ["models/net.pt2", "~/net.pt2", "file://elsewhere/net.pt2", "net.pt2"])
def test_a_path_has_to_be_a_whole_one(text: str) -> None:
    with pytest.raises(UserError):
        local_path(text)


@pytest.mark.parametrize(
    "wrong",
    [
        {"sweep_model_urls": ["models.example.org"]},
        {"sweep_model_urls": ["https://u:p@host"]},
        {"sweep_model_dirs": ["models"]},
    ],
)
def test_settings_that_would_allow_something_else_than_they_say_are_refused(wrong: dict[str, list[str]]) -> None:
    with pytest.raises(ConfigError):
        load(**wrong)
