"""A notice's Markdown as other places want it: HTML, Slack's mrkdwn, plain text. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

_MARKDOWN = MarkdownIt("commonmark", {"html": False})  # raw HTML is text
_SPECIAL = re.compile(r"([\\`*_\[\]<>#|~])")


def escaped(text: str) -> str:
    """Any text as Markdown that reads like it, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def code(text: str) -> str:
    """Any text as a code span, on one line."""
    return f"`{' '.join(text.replace('`', '’').split()) or ' '}`"


def as_html(markdown: str) -> str:
    html: str = _MARKDOWN.render(markdown)
    return html


def as_slack(markdown: str) -> str:
    """mrkdwn (https://docs.slack.dev/messaging/formatting-message-text); its three control characters are escaped."""
    return _Slack().blocks(_MARKDOWN.parse(markdown))


def as_plain(markdown: str) -> str:
    """For an e-mail without HTML: links are spelled out."""
    return _Plain().blocks(_MARKDOWN.parse(markdown))


class _Plain:
    """Writes tokens of a Markdown document as text."""

    strong = code = ""

    def blocks(self, tokens: Sequence[Token]) -> str:
        lines: list[str] = []
        bullets: list[str] = []
        first = False  # line of a list item
        for token in tokens:
            if token.type in ("bullet_list_open", "ordered_list_open"):
                bullets.append("1. " if token.type.startswith("ordered") else "• ")
            elif token.type in ("bullet_list_close", "ordered_list_close"):
                bullets.pop()
                if not bullets:
                    lines.append("")
            elif token.type == "list_item_open":
                first = True
            elif token.type == "inline":
                text = self.inline(token.children or [])
                if bullets:
                    margin = "    " * (len(bullets) - 1)
                    lines.append(margin + (bullets[-1] if first else "  ") + text)
                    first = False
                else:
                    heading = token.level and tokens[tokens.index(token) - 1].type == "heading_open"
                    lines += [f"{self.strong}{text}{self.strong}" if heading else text, ""]
            elif token.type in ("fence", "code_block"):
                lines += [self.preformatted(token.content.rstrip("\n")), ""]
        return "\n".join(lines).strip("\n")

    def inline(self, tokens: Sequence[Token]) -> str:
        parts: list[str] = []
        opened: list[tuple[str, int]] = []
        for token in tokens:
            match token.type:
                case "text":
                    parts.append(self.text(token.content))
                case "code_inline":
                    parts.append(f"{self.code}{self.text(token.content)}{self.code}")
                case "strong_open" | "strong_close":
                    parts.append(self.strong)
                case "softbreak" | "hardbreak":
                    parts.append("\n")
                case "link_open":
                    opened.append((str(token.attrGet("href") or ""), len(parts)))
                case "link_close":
                    href, start = opened.pop()
                    parts[start:] = [self.link(href, "".join(parts[start:]))]
                case _:
                    parts.append(self.text(token.content))
        return "".join(parts)

    def text(self, text: str) -> str:
        return text

    def link(self, href: str, label: str) -> str:
        return label if label == href else f"{label}: {href}"

    def preformatted(self, text: str) -> str:
        return text


class _Slack(_Plain):
    strong, code = "*", "`"

    def text(self, text: str) -> str:
        return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

    def link(self, href: str, label: str) -> str:
        return f"<{self.text(href).replace('|', '%7C')}|{label.replace('|', '¦')}>"

    def preformatted(self, text: str) -> str:
        return f"```\n{self.text(text).replace('```', '’’’')}\n```"
