"""What a flow is."""

from dataclasses import dataclass, field
from typing import Callable

FRAMEWORKS = ("django", "fastapi", "express")


@dataclass(frozen=True)
class Flow:
    """Calls that are played on both sides, and what is compared afterwards."""

    name: str
    play: Callable
    # Names of the applications; None: all.
    apps: tuple | None = None
    # Whether the application must have seen the same calls: only where none is an event.
    calls: bool = False
    # Keys of the configuration that differ from the README's.
    config: dict = field(default_factory=dict)
    # Whose events must be in order.
    order: Callable = lambda row: row["user"]
    # Looks at both stores; gives what is wrong.
    judge: Callable | None = None
    # What is told beside the line of a flow that passed.
    note: Callable = lambda: ""
    # Rows that only `judge` looks at, and how many of them may be dead letters.
    set_apart: Callable = lambda row: False
    most_dead: int = 0
