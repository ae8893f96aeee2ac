"""Does a pattern file leave this path out? The part of .gitignore's language that people use, without git."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a pattern file; `base` is the folder of that file, relative to the root ("" = the root itself)."""

    regex: re.Pattern[str]
    keeps: bool  # the line began with "!"
    only_folders: bool  # the line ended with "/"
    base: str = ""


def rules(lines: Iterable[str], base: str = "") -> tuple[Rule, ...]:
    """Read a pattern file."""
    return tuple(rule for line in lines if (rule := _rule(line, base)) is not None)


def is_ignored(path: str, is_folder: bool, ruleset: Sequence[Rule]) -> bool:
    """Say whether the last rule that fits `path` (relative to the root, with "/") leaves it out.

    As in git, what is below an ignored folder cannot be brought back: whoever walks must not enter it.
    """
    for rule in reversed(ruleset):
        if _fits(rule, path, is_folder):
            return not rule.keeps
    return False


def _fits(rule: Rule, path: str, is_folder: bool) -> bool:
    if rule.only_folders and not is_folder:
        return False
    if rule.base:
        if not path.startswith(rule.base + "/"):
            return False
        path = path[len(rule.base) + 1 :]
    return rule.regex.fullmatch(path) is not None


def _rule(line: str, base: str) -> Rule | None:
    line = line.rstrip("\r\n")
    if not line.endswith("\\ "):
        line = line.rstrip(" ")
    if not line or line.startswith("#"):
        return None
    keeps = line.startswith("!")
    body = line[1:] if keeps else line
    only_folders = body.endswith("/")
    body = body.rstrip("/")
    if not body:
        return None
    # A slash at the start or in the middle ties the pattern to the file's own folder.
    anchored = "/" in body
    regex = _translate(body.lstrip("/"))
    return Rule(
        re.compile(regex if anchored else f"(?:.*/)?{regex}", re.DOTALL), keeps, only_folders, base
    )


_TOKEN = re.compile(r"\*\*/|/\*\*$|\*\*|\*|\?|\[!?\]?[^\]/]*\]|\\.|.", re.DOTALL)


def _translate(pattern: str) -> str:
    return "".join(_translate_token(token) for token in _TOKEN.findall(pattern))


def _translate_token(token: str) -> str:
    match token:
        case "**/":
            return "(?:.*/)?"
        case "/**":
            return "/.+"
        case "*" | "**":
            return "[^/]*"
        case "?":
            return "[^/]"
        case _:
            return _translate_text(token)


def _translate_text(token: str) -> str:
    if len(token) > 1 and token.startswith("["):
        inner = token[1:-1].replace("\\", "\\\\").replace("[", "\\[")
        return f"[^{inner[1:]}/]" if inner.startswith("!") else f"[{inner}]"
    return re.escape(token[1:] if len(token) == 2 and token.startswith("\\") else token)
