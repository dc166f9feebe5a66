"""A base that is filled from a folder, and what becomes of both."""

from __future__ import annotations

import os
from pathlib import Path

from secureai_appliance.accounts import users
from secureai_appliance.accounts.callers import Caller
from secureai_appliance.core.sealing import Sealer
from secureai_appliance.governance.audit import SYSTEM
from secureai_appliance.governance.configs import Configs
from secureai_appliance.knowledge import bases, blobs, documents
from secureai_appliance.knowledge.bases import KnowledgeCreate
from secureai_appliance.knowledge.documents import Document, DocumentQuery
from secureai_appliance.knowledge.following import folders
from secureai_appliance.knowledge.following.folders import Allowed, FolderFile, FolderFileQuery, FolderPut
from secureai_appliance.knowledge.following.watching import Watcher
from secureai_appliance.store import Store
from tests.support.audit import rows
from tests.support.clock import FakeClock
from tests.support.knowledge import MODEL, add_embedding_model

SEALER = Sealer(bytes(32))


class Followed:
    """A base, its folder, and looks at it."""

    def __init__(self, store: Store, clock: FakeClock, tmp_path: Path) -> None:
        self.store, self._clock = store, clock
        self.folder = tmp_path / "shared" / "manuals"
        self.folder.mkdir(parents=True)
        (tmp_path / "data").mkdir()
        self.allowed = Allowed([str(tmp_path / "shared")], tmp_path / "data")
        self.configs = Configs(store, SEALER)
        with store.transaction() as tx:
            model = add_embedding_model(tx)
            user = users.create(tx, email="a@example.test", name="A", role="user")
            self.owner: Caller = users.caller_of(tx, user.id)
            self.base = bases.create(tx, self.owner, KnowledgeCreate(name="base"), model).id
            self.configs.put(tx, SYSTEM, folders.ROOTS, list(self.allowed.roots))
        self.arrived = 0
        self.watcher = Watcher(store, clock, self.configs, self.allowed.data, self._arrive)
        self.follow(self.folder)

    def _arrive(self) -> None:
        self.arrived += 1

    def follow(self, folder: Path) -> None:
        with self.store.transaction() as tx:
            folders.put(tx, self.owner, self.base, FolderPut(path=str(folder)))

    def add(self, name: str) -> Path:
        """The folder of another base."""
        folder = self.folder.with_name(name)
        folder.mkdir()
        with self.store.transaction() as tx:
            base = bases.create(tx, self.owner, KnowledgeCreate(name=name), MODEL).id
            folders.put(tx, self.owner, base, FolderPut(path=str(folder)))
        return folder

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        # tests are faster than the clock of the file system
        os.utime(path, ns=(0, sum(text.encode()) * 1000 + len(text)))

    def look(self, times: int = 1) -> None:
        for _ in range(times):
            self._clock.advance(60)
            while self.watcher.work():
                pass

    def documents(self) -> dict[str, Document]:
        with self.store.read() as db:
            return {each.filename: each for each in documents.list_(db, self.owner, DocumentQuery()).data}

    def files(self) -> dict[str, FolderFile]:
        with self.store.read() as db:
            return {each.path: each for each in folders.files(db, self.owner, self.base, FolderFileQuery()).data}

    def problem(self) -> str | None:
        with self.store.read() as db:
            problem = folders.get(db, self.owner, self.base).problem
        return None if problem is None else problem.code

    def text(self, filename: str) -> str:
        with self.store.read() as db:
            blob = documents.blob(db, self.documents()[filename].id)
        return b"".join(blobs.pieces(self.store, blob)).decode()

    def actions(self) -> list[str]:
        with self.store.read() as db:
            return [row.action for row in rows(db) if row.action not in {"user.created", "knowledge.created"}]
