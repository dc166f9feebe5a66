"""The one file: opened, written, read, checked and closed here."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import apsw

from secureai_appliance.core.clock import Clock
from secureai_appliance.core.errors import StartupError
from secureai_appliance.store import migrations
from secureai_appliance.store.birth import give_birth
from secureai_appliance.store.connection import (
    Identity,
    Options,
    Synchronous,
    identify,
    keep_private,
    open_reader,
    open_writer,
    use_temporary_folder,
)
from secureai_appliance.store.errors import read_failure
from secureai_appliance.store.reader import Reader, ReaderPool, Watch
from secureai_appliance.store.writer import PROBE, Transaction, Writer


class Store:
    """Everything the appliance knows. Safe to use from all threads; other processes may open the same file."""

    found: int | None
    """The schema version that this `open` found, before it was migrated; None when the file was born in it."""

    def __init__(self, path: Path, options: Options, writer: Writer, readers: ReaderPool, found: int | None) -> None:
        self.path = path
        self.found = found
        self._options = options
        self._writer = writer
        self._readers = readers
        self._watch = Watch(lambda: open_reader(path, options))

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        clock: Clock,
        admit: Callable[[Identity], None] = lambda _: None,
        vfs: str | None = None,
        synchronous: Synchronous = "FULL",
        patience: float = 5.0,
        chain_key: bytes = b"",
    ) -> Store:
        """Open the file, make it when it is missing, and bring it to the newest schema.

        `admit` sees a file that is there before a byte of it is changed, and may raise StartupError.
        `vfs` and `synchronous` are for tests; `patience` is how long, in seconds, a writer waits for its turn, other
        processes included. `chain_key` is at hand in each transaction, for the audit chain; without it nothing can be
        recorded there. Raises StartupError; for a newer schema (exit code 5) or a foreign file nothing is changed.
        """
        options = Options(vfs, synchronous, patience)
        try:
            use_temporary_folder()
            with migrations.only_one_process(path.parent):
                identity = identify(path, options)
                if identity is None:
                    give_birth(path, options, clock)
                else:
                    migrations.refuse_strangers(identity, path)
                    admit(identity)
                    keep_private(path)
                writer = open_writer(path, options)
                try:
                    migrations.migrate(writer, path)
                except BaseException:
                    writer.close()
                    raise
        except (apsw.Error, OSError) as cause:
            raise StartupError(f"The database {path} can't be opened: {cause}") from cause
        found = None if identity is None else identity.schema_version
        readers = ReaderPool(lambda: open_reader(path, options), clock)
        return cls(path, options, Writer(writer, clock, patience, chain_key), readers, found)

    @property
    def chain_key(self) -> bytes:
        """The key of the audit chain; empty when the store was opened without."""
        return self._writer.chain_key

    @property
    def schema(self) -> int:
        """The schema version that the file has now."""
        return len(migrations.scripts())

    @property
    def created(self) -> bool:
        """Whether the file was born in this `open`."""
        return self.found is None

    def transaction(self) -> AbstractContextManager[Transaction]:
        """The only way to write: `with store.transaction() as tx`.

        When the `with` has ended without an error, the change survives a power cut. What the body raises undoes what
        the body did, and comes out as it is. Raises ServiceUnavailable, with nothing changed, when storage can't be
        written. Short bodies only: all writers wait for each other. Not nestable: pass `tx` on.
        """
        return self._writer.transaction()

    def read(self) -> AbstractContextManager[Reader]:
        """One consistent state, of the moment of the first statement. Never waits for a writer. Not over 1 s."""
        return self._readers.read()

    def version(self) -> int:
        """Differs from the value before whenever anybody, other processes included, has committed something since.

        What was read is still true as long as it stays the same; costs a few microseconds.
        """
        return self._watch.version()

    def steady(self) -> AbstractContextManager[None]:
        """Inside, `version` gives this thread one answer. For what is found out at the beginning of a request."""
        return self._watch.steady()

    def check_writable(self) -> None:
        """Write something, really. Raises ServiceUnavailable."""
        with self.transaction() as tx:
            tx.run(PROBE)

    def checkpoint(self) -> None:
        """Write the write-ahead log back into the file and cut it to nothing, as far as readers allow."""
        self._writer.checkpoint()

    def integrity(self, quick: bool) -> list[str]:
        """What is broken in the file, in SQLite's words; empty when it is well. Long on large files unless `quick`."""
        check = "quick_check" if quick else "integrity_check"
        try:
            connection = open_reader(self.path, self._options)
        except apsw.Error as cause:
            raise read_failure(cause) from cause
        found: list[str] = []
        try:
            found += [row[0] for row in connection.execute(f"PRAGMA {check}") if row[0] != "ok"]
            for table, row_id, parent, _ in connection.execute("PRAGMA foreign_key_check"):
                found.append(f"row {row_id} of {table} refers to a missing row of {parent}")
        except apsw.CorruptError as cause:
            found.append(str(cause))
        except apsw.Error as cause:
            raise read_failure(cause) from cause
        finally:
            connection.close()
        return found

    def close(self) -> None:
        """Finish what runs, write the log back, close. Readers that are still at work end on their own."""
        self._watch.close()
        self._readers.close()
        self._writer.close()
