"""Passwords: Argon2id (RFC 9106) in the PHC string format, the policy for new ones, and how many are worked on at once.

Cost: 64 MiB, 3 passes, 4 lanes, RFC 9106's second recommended option; about 160 ms of one core here.
"""

from __future__ import annotations

import gzip
import os
import re
import threading
import unicodedata
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from secureai_appliance.core.errors import ServiceUnavailable, ValidationError
from secureai_appliance.core.paths import assets
from secureai_appliance.governance import audit
from secureai_appliance.governance.audit import Actor
from secureai_appliance.store import Reader, Transaction

MIN_LENGTH = 12
MAX_LENGTH = 128
_MEMORY_KIB, _PASSES, _LANES = 64 * 1024, 3, 4
_PARAMETERS = f"$argon2id$v=19$m={_MEMORY_KIB},t={_PASSES},p={_LANES}"
_LEAST_OWN = 8  # characters that must be left when what everybody knows is taken away
_LEAST_DIFFERENT = 5
_WAITING = 8
_PATIENCE_SECONDS = 5.0
_EDGES = re.compile(r"^[\W\d_]+|[\W\d_]+$")
_WORD = re.compile(r"\w{3,}")


def hash_password(password: str) -> str:
    """The PHC string (`$argon2id$v=19$…`)."""
    kdf = Argon2id(salt=os.urandom(16), length=32, iterations=_PASSES, lanes=_LANES, memory_cost=_MEMORY_KIB)
    return kdf.derive_phc_encoded(_bytes(password))


def verify_password(password: str, encoded: str) -> bool:
    """Whether `password` is the one that `encoded` was made from."""
    try:
        Argon2id.verify_phc_encoded(_bytes(password), encoded)
    except InvalidKey:
        return False
    return True


def _bytes(password: str) -> bytes:
    # keyboards write the same letter in different ways
    return unicodedata.normalize("NFKC", password).encode()


def check_policy(password: str, *about: str) -> None:
    """Raise ValidationError unless `password` may be a new one. `about`: the user's address and name.

    Length and what is known to be guessed first; no rules of composition (OWASP ASVS 2.1).
    """
    if len(password) < MIN_LENGTH:
        raise _refused(f"A password needs at least {MIN_LENGTH} characters.", "min_length")
    if len(password) > MAX_LENGTH:
        raise _refused(f"A password has at most {MAX_LENGTH} characters.", "max_length")
    if not password.isprintable():
        raise _refused("A password has printable characters only.", "format")
    plain = unicodedata.normalize("NFKC", password).casefold()
    if len(set(plain)) < _LEAST_DIFFERENT:
        raise _refused(f"A password needs at least {_LEAST_DIFFERENT} different characters.", "common")
    if _is_common(plain):
        raise _refused("This password is among those that are guessed first. Choose another.", "common")
    rest = plain
    for word in {word for text in (*about, "secureai appliance") for word in _WORD.findall(text.casefold())}:
        rest = rest.replace(word, "")
    if len(rest) < _LEAST_OWN:
        raise _refused("This password is mostly your own name or address. Choose another.", "common")


def _is_common(plain: str) -> bool:
    """Whether it is a common password, two of them in a row or one repeated, with digits and signs around."""
    known = _common()
    for text in {plain, _EDGES.sub("", plain)}:
        if not text or text in known:
            return True
        if any(text[:cut] in known and text[cut:] in known for cut in range(4, len(text) - 3)):
            return True
        if any(len(text) % size == 0 and text == text[:size] * (len(text) // size) for size in range(1, 7)):
            return True
    return False


@cache
def _common() -> frozenset[str]:
    with gzip.open(assets() / "passwords" / "common-passwords.txt.gz", "rt", encoding="utf-8") as file:
        return frozenset(line.rstrip("\n") for line in file)


def _refused(message: str, constraint: str) -> ValidationError:
    return ValidationError(message, field="password", constraint=constraint)


def stored(db: Reader, user_id: str) -> str | None:
    """The PHC string of a user's password, None when they have none."""
    found: str | None = db.value("SELECT password_hash FROM users WHERE id = ?", user_id)
    return found


def store(tx: Transaction, user_id: str, encoded: str, actor: Actor) -> None:
    """Give a user this password."""
    tx.run("UPDATE users SET password_hash = ?, updated_at = ? WHERE id = ?", encoded, tx.now(), user_id)
    audit.record(tx, actor, "user.password_changed", "user", user_id)


class Workshop:
    """Where the server hashes: so many at once that memory and processor stay free, however many people ask.

    Browsers that signed in before have a place of their own, so that strangers can't keep them out. At most
    (places + 1) × 64 MiB are taken.
    """

    def __init__(self, places: int = max(1, (os.cpu_count() or 1) // 2)) -> None:
        self._strangers = _Lane(places)
        self._known = _Lane(1)
        self._nobodys = f"{_PARAMETERS}${_base64(os.urandom(16))}${_base64(os.urandom(32))}"

    def verify(self, password: str, encoded: str | None, *, known: bool = False) -> bool:
        """`verify_password`, with the same work when there is nothing to compare with: False then.

        Raises ServiceUnavailable when too many wait.
        """
        with (self._known if known else self._strangers).place():
            matches = verify_password(password, encoded or self._nobodys)
        return matches and encoded is not None

    def hash(self, password: str) -> str:
        """`hash_password`. Raises ServiceUnavailable when too many wait."""
        with self._known.place():
            return hash_password(password)


class _Lane:
    def __init__(self, places: int) -> None:
        self._places = threading.BoundedSemaphore(places)
        self._queue = threading.BoundedSemaphore(places + _WAITING)

    @contextmanager
    def place(self) -> Iterator[None]:
        if not self._queue.acquire(blocking=False):
            raise _busy()
        try:
            if not self._places.acquire(timeout=_PATIENCE_SECONDS):
                raise _busy()
            try:
                yield
            finally:
                self._places.release()
        finally:
            self._queue.release()


def _base64(raw: bytes) -> str:
    return b64encode(raw).decode().rstrip("=")


def _busy() -> ServiceUnavailable:
    return ServiceUnavailable("Too many people sign in at the moment. Try again in a few seconds.", retry_after=5)
