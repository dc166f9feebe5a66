"""Figures of an engine: what it is allowed, and how it stands."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Lengths and chunks are in tokens; a request that waits longer than `max_wait_seconds` is given up.

    `mixed_chunk` None: by measured step time. A step is computed by `threads[0]` to `threads[1]` threads, and by
    `fixed_threads` when it must be repeatable.
    """

    context_length: int
    kv_tokens: int
    slots: int
    alone_chunk: int
    mixed_chunk: int | None
    max_waiting: int
    max_wait_seconds: float
    threads: tuple[int, int]
    fixed_threads: int


@dataclass(frozen=True)
class QueueState:
    """How many run and wait, of how many slots; steps computed so far; KV tokens reserved."""

    running: int
    waiting: int
    slots: int
    steps: int
    kv_tokens: int
