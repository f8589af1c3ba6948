"""Orders on disk: SQLite, in write-ahead mode and fully synced, so that what is said is kept.

place ──► one transaction: record, event, idempotency key        save ──► record, event

Methods block, and one thread calls them all; a folder has one service at a time (`Lock`).
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.augmentation.holds import Held
from service.augmentation.records import ENDED, Record, record_from

DATABASE = "orders.sqlite"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    ended_at REAL,
    key TEXT UNIQUE,
    body TEXT,
    record TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS events (
    id TEXT NOT NULL REFERENCES orders(id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    event TEXT NOT NULL,
    data TEXT NOT NULL,
    PRIMARY KEY (id, number)
) WITHOUT ROWID;
"""


class Clash(Exception):
    """The key was used before, with another body."""


@dataclass(frozen=True)
class Event:
    """Something that happened to an order; `number` counts from 1."""

    number: int
    event: str
    data: dict[str, Any]


class Lock:
    """One process at a time works in a folder; the system frees the lock when it dies."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)

    def taken(self, *, shared: bool = False) -> bool:
        """Take it, if nobody has it; if nobody has it alone, where it is to be `shared`."""
        try:
            fcntl.flock(self._file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Let it go."""
        os.close(self._file)


class OrderStore:
    """The orders of one folder."""

    def __init__(self, folder: Path) -> None:
        self._db = sqlite3.connect(
            folder / DATABASE, isolation_level=None, check_same_thread=False, timeout=5.0
        )
        self._db.executescript(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;"
            + _SCHEMA
        )

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def known(self, key: str, body: str) -> Record | None:
        """The order that was placed under an idempotency key.

        Raises:
            Clash: its body was another one.
        """
        row = self._one("SELECT body, record FROM orders WHERE key = ?", key)
        if row is None:
            return None
        if row[0] != body:
            raise Clash
        return record_from(row[1])

    def place(self, record: Record, *, key: str | None, body: str, data: dict[str, Any]) -> Record:
        """Keep a new order; the one that the key has already, if there is one.

        Raises:
            Clash: the key has another body.
            Held: the disk is full.
        """
        if key is not None and (found := self.known(key, body)) is not None:
            return found
        self._in_one(
            (
                "INSERT INTO orders (id, state, key, body, record) VALUES (?, ?, ?, ?, ?)",
                (record.id, record.state, key, body, record.to_json()),
            ),
            ("INSERT INTO events VALUES (?, 1, 'state', ?)", (record.id, json.dumps(data))),
        )
        return record

    def save(self, record: Record, event: Event | None = None) -> None:
        """Keep how an order stands, and what happened to it.

        Raises:
            Held: the disk is full.
        """
        steps: list[tuple[str, tuple[Any, ...]]] = [
            (
                "UPDATE orders SET state = ?, ended_at = ?, record = ? WHERE id = ?",
                (record.state, record.ended_at, record.to_json(), record.id),
            )
        ]
        if event is not None:
            steps.append(
                (
                    "INSERT OR REPLACE INTO events VALUES (?, ?, ?, ?)",
                    (record.id, event.number, event.event, json.dumps(event.data)),
                )
            )
        self._in_one(*steps)

    def forget(self, id_: str) -> None:
        """Remove an order, its events and its key."""
        self._in_one(("DELETE FROM orders WHERE id = ?", (id_,)))

    def find(self, id_: str) -> Record | None:
        """An order."""
        row = self._one("SELECT record FROM orders WHERE id = ?", id_)
        return None if row is None else record_from(row[0])

    def page(self, *, limit: int, before: int | None) -> list[tuple[int, Record]]:
        """(number, order), newest first, of those with numbers below `before`."""
        found = self._all(
            "SELECT number, record FROM orders WHERE number < ? ORDER BY number DESC LIMIT ?",
            2**62 if before is None else before,
            limit,
        )
        return [(number, record_from(text)) for number, text in found]

    def unfinished(self) -> list[Record]:
        """Orders that have not ended, oldest first."""
        found = self._all("SELECT state, record FROM orders ORDER BY number")
        return [record_from(text) for state, text in found if state not in ENDED]

    def expired(self, *, before: float) -> list[str]:
        """Orders that ended before a time."""
        return [row[0] for row in self._all("SELECT id FROM orders WHERE ended_at < ?", before)]

    def counts(self) -> dict[str, int]:
        """Orders by state."""
        return dict(self._all("SELECT state, count(*) FROM orders GROUP BY state"))

    def events(self, id_: str, *, after: int) -> list[Event]:
        """What happened to an order since event `after`."""
        found = self._all(
            "SELECT number, event, data FROM events WHERE id = ? AND number > ? ORDER BY number",
            id_,
            after,
        )
        return [Event(number, event, json.loads(data)) for number, event, data in found]

    def last_event(self, id_: str) -> int:
        """The number of an order's last event."""
        row = self._one("SELECT max(number) FROM events WHERE id = ?", id_)
        return int(row[0] or 0) if row else 0

    def _one(self, sql: str, *values: object) -> tuple[Any, ...] | None:
        found: tuple[Any, ...] | None = self._db.execute(sql, values).fetchone()
        return found

    def _all(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        with closing(self._db.execute(sql, values)) as cursor:
            return cursor.fetchall()

    def _in_one(self, *steps: tuple[str, tuple[Any, ...]]) -> None:
        """All steps, or none."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for sql, values in steps:
                self._db.execute(sql, values)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            if error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}:
                raise Held("no_space", "there is no space left for the orders' list") from error
            raise
