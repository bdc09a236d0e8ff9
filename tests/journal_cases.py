"""Journals of a search that is quick."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from search_cases import GENERATIONAL, Counted, matches, search

from evojax_prune.search import SearchResult
from evojax_prune.search import journal as journals


def write_journal(path: Path) -> bytes:
    """A journal of three batches, at a path."""
    search(GENERATIONAL, Counted(matches), evaluations=40, seed=0, journal=path)
    return path.read_bytes()


def resume(path: Path, evaluations: int = 40) -> tuple[SearchResult, int]:
    """The search, and how many genomes it evaluated itself."""
    evaluate = Counted(matches)
    result = search(GENERATIONAL, evaluate, evaluations=evaluations, seed=0, journal=path)
    return result, evaluate.count


def sealed(*lines: dict[str, Any]) -> bytes:
    """Lines with sound checksums, whatever they hold."""
    content, last = b"", ""
    for line in lines:
        payload = json.dumps(line, separators=(",", ":")).encode()
        last = journals._checksum(last, payload)
        content += b'{"sum":"' + last.encode() + b'",' + payload[1:] + b"\n"
    return content


def unsealed(content: bytes) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in content.splitlines()]
    return [{key: value for key, value in line.items() if key != "sum"} for line in lines]
