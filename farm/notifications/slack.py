"""Slack's incoming webhooks, and what speaks like them (Mattermost, Rocket.Chat, Discord's ``/slack``).

Slack shows ``blocks`` and takes ``text`` for its own notification; the others show ``text``. Limits:
https://docs.slack.dev/reference/block-kit/blocks.
"""

from __future__ import annotations

import json
from typing import Any

from farm.notifications.http import exchange, expect_success
from farm.notifications.markup import as_slack
from farm.notifications.secrets import secret
from farm.types import Notice
from farm.types.channels import SlackChannel

_HEADER_CHARACTERS = 150
_SECTION_CHARACTERS = 3000
_TEXT_CHARACTERS = 40_000  # of the message without blocks
_BLOCKS = 50
_CUT = "…"


class Slack:
    def __init__(self, name: str, setting: SlackChannel) -> None:
        self._name, self._setting = name, setting

    def send(self, notice: Notice) -> None:
        url = secret(self._name, self._setting, "url")
        body = json.dumps(message(notice)).encode()
        answer = exchange(
            self._name,
            "POST",
            url,
            content=body,
            headers={"Content-Type": "application/json"},
            timeout_seconds=self._setting.timeout_seconds,
        )
        expect_success(self._name, answer)


def message(notice: Notice) -> dict[str, Any]:
    text = as_slack(notice.text)
    sections = _sections(text)
    if len(sections) > _BLOCKS - 1:
        sections = [*sections[: _BLOCKS - 2], _CUT]
    # ``verbatim``: what looks like a mention or a channel in names of devices and models is none.
    blocks: list[dict[str, Any]] = [
        {"type": "section", "text": {"type": "mrkdwn", "text": section, "verbatim": True}} for section in sections
    ]
    subject = {"type": "plain_text", "text": _cut(notice.subject, _HEADER_CHARACTERS), "emoji": False}
    said = f"{_escaped(notice.subject)}\n{text}"
    return {"text": _cut(said, _TEXT_CHARACTERS), "blocks": [{"type": "header", "text": subject}, *blocks]}


def _sections(text: str) -> list[str]:
    """Whole lines, as many as a block takes; a line that is too long is cut."""
    sections: list[str] = []
    for line in text.split("\n"):
        cut = _cut(line, _SECTION_CHARACTERS)
        if sections and len(sections[-1]) + 1 + len(cut) <= _SECTION_CHARACTERS:
            sections[-1] += f"\n{cut}"
        elif cut.strip():
            sections.append(cut)
    return sections


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - 1] + _CUT


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
