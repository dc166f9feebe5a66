"""Opening the one file with the master key that its secrets are sealed under: by the server, and by commands."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from secureai_appliance import __version__
from secureai_appliance.core.clock import Clock
from secureai_appliance.core.errors import EXIT_MASTER_KEY, StartupError
from secureai_appliance.core.sealing import Sealer, create_master_key, read_master_key
from secureai_appliance.governance import audit, chain
from secureai_appliance.governance.audit import SYSTEM
from secureai_appliance.settings import Settings
from secureai_appliance.store import Identity, Store

_KEY_CHECK = b"this key belongs to this file"
_KEY_CHECK_CONTEXT = "instance.key_check"
_AUDITED_CONTEXT = "instance.key_check, audited"


def open_store(settings: Settings, clock: Clock, *, create: bool) -> tuple[Store, Sealer]:
    """The file and what opens its secrets. Without `create`, a folder that has no file yet is an error.

    Raises StartupError: exit code 4 when the master key is missing or belongs to another file; nothing is changed then.
    """
    folder = settings.data_folder
    is_new = not folder.database.exists()
    if is_new and not create:
        raise StartupError(
            f"There is no appliance in {folder.root} yet. Start it once: secureai serve --data {folder.root}"
        )
    if is_new and not settings.master_key.exists():
        sealer = Sealer(create_master_key(settings.master_key))
    else:
        sealer = Sealer(read_master_key(settings.master_key))
    store = Store.open(
        folder.database,
        clock=clock,
        admit=partial(_require_master_key, sealer, settings.master_key),
        chain_key=sealer.derive("audit"),
    )
    try:
        _leave_key_check(store, sealer)
        _note_migration(store)
    except BaseException:
        store.close()
        raise
    return store, sealer


def _require_master_key(sealer: Sealer, path: Path, identity: Identity) -> None:
    """Raise StartupError (exit code 4) when the file's secrets were sealed under another key."""
    if identity.key_check is None:
        return
    if not any(_opens(sealer, identity.key_check, context) for context in (_KEY_CHECK_CONTEXT, _AUDITED_CONTEXT)):
        raise StartupError(
            f"{path} is not the master key of this data folder. Put back the one that belongs to it (a backup needs "
            "both), or name it with SECUREAI_KEY_FILE.",
            EXIT_MASTER_KEY,
        )


def _leave_key_check(store: Store, sealer: Sealer) -> None:
    """Tie the file to its key and begin its audit log, once.

    The check value says that the log was begun: taking the log away makes no file that looks as if it had none yet.
    """
    with store.read() as db:
        check, is_new = db.all("SELECT key_check, NOT EXISTS (SELECT 1 FROM users) FROM instance")[0]
    if check is not None and _opens(sealer, check, _AUDITED_CONTEXT):
        return
    with store.transaction() as tx:
        tx.run("UPDATE instance SET key_check = ?", sealer.seal(_KEY_CHECK, _AUDITED_CONTEXT))
        if check is not None or is_new:
            chain.begin(tx)


def _note_migration(store: Store) -> None:
    if store.found is None or store.found == store.schema:
        return
    details: audit.Details = {"from": store.found, "to": store.schema, "version": __version__}
    with store.transaction() as tx:
        audit.record(tx, SYSTEM, "system.migrated", "system", details=details)


def _opens(sealer: Sealer, check: bytes, context: str) -> bool:
    try:
        sealer.open(check, context)
    except ValueError:
        return False
    return True
