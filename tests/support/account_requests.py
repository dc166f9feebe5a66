"""Requests of the account page, each made to succeed once on a running appliance, for the audit test."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlencode

from secureai_appliance.accounts import keys, passwords, second_factors, sessions, users
from secureai_appliance.accounts.callers import operator
from secureai_appliance.accounts.keys import KeyCreate
from secureai_appliance.accounts.oauth import clients, grants
from secureai_appliance.accounts.oauth.clients import ClientCreate
from secureai_appliance.governance.audit import SYSTEM
from tests.support.recipes import Recipe
from tests.support.running import Response, Running
from tests.support.totp import code_of

PASSWORD = "correct horse battery staple 9"


class Person:
    """A user of their own, signed in."""

    made = 0
    latest = ""

    def __init__(self, api: Running) -> None:
        Person.made += 1
        self.api = api
        self.email = f"person{Person.made}@example.test"
        with api.appliance.store.transaction() as tx:
            self.id = users.create(tx, email=self.email, name="Person", role="user").id
            Person.latest = self.id
            self.session = sessions.open_(tx, self.id, "link", sessions.Browser("127.0.0.1", "test"))

    def send(self, path: str, **fields: str) -> Response:
        headers = {
            "Cookie": f"{sessions.COOKIE}={self.session}",
            "Origin": self.api.appliance.address,
            "Content-Type": "application/x-www-form-urlencoded",
        }
        body = urlencode(fields).encode() if fields else None
        return self.api.ask("POST", path, body, key=None, headers=headers)

    def key(self) -> str:
        """The secret of a key of theirs."""
        with self.api.appliance.store.transaction() as tx:
            return keys.create(tx, users.caller_of(tx, self.id), KeyCreate(name="k")).key

    def start(self) -> str:
        """Begin with a second factor: the code that switches it on."""
        appliance = self.api.appliance
        factors = second_factors.SecondFactors(appliance.sealer)
        with appliance.store.transaction() as tx:
            factors.start(tx, self.id, SYSTEM)
            made = factors.set_up(tx, self.id, self.email)
            assert made is not None
            return code_of(made.secret, tx.now())

    def recovery_code(self) -> str:
        """Switch a second factor on: one of its recovery codes."""
        code = self.start()
        with self.api.appliance.store.transaction() as tx:
            return second_factors.SecondFactors(self.api.appliance.sealer).confirm(tx, self.id, code, SYSTEM)[0]


def change_password(api: Running) -> Callable[[], Response]:
    person = Person(api)
    return lambda: person.send("/account/password", password=PASSWORD, again=PASSWORD)


def start(api: Running) -> Callable[[], Response]:
    person = Person(api)
    return lambda: person.send("/account/second-factor")


def confirm(api: Running) -> Callable[[], Response]:
    person = Person(api)
    code = person.start()
    return lambda: person.send("/account/second-factor/confirm", code=code)


def remove(api: Running) -> Callable[[], Response]:
    person = Person(api)
    code = person.recovery_code()
    return lambda: person.send("/account/second-factor/remove", code=code)


def end_session(api: Running) -> Callable[[], Response]:
    person = Person(api)
    with api.appliance.store.transaction() as tx:
        sessions.open_(tx, person.id, "link", sessions.Browser("127.0.0.1", "other"))
        other = tx.value("SELECT id FROM sessions WHERE agent = 'other' AND user_id = ?", person.id)
    return lambda: person.send(f"/account/sessions/{other}/end")


def end_by_key(api: Running) -> Callable[[], Response]:
    with api.appliance.store.transaction() as tx:
        user_id = users.by_email(tx, "admin@localhost").id
        sessions.open_(tx, user_id, "link", sessions.Browser("127.0.0.1", "ended by key"))
        session_id = tx.value("SELECT id FROM sessions WHERE agent = 'ended by key'")
    Person.latest = user_id
    return lambda: api.ask("DELETE", f"/api/v1/me/sessions/{session_id}")


def make_key(api: Running) -> Callable[[], Response]:
    person = Person(api)
    return lambda: person.send("/account/keys", name="k")


def revoke_key(api: Running) -> Callable[[], Response]:
    person = Person(api)
    with api.appliance.store.transaction() as tx:
        caller = users.caller_of(tx, person.id)
        made = keys.create(tx, caller, KeyCreate(name="k")).id
    return lambda: person.send(f"/account/keys/{made}/revoke")


def revoke_authorization(api: Running) -> Callable[[], Response]:
    person = Person(api)
    with api.appliance.store.transaction() as tx:
        bounds = ClientCreate(name="c", redirect_uris=["http://127.0.0.1/"], scopes=["models:read"])
        client = clients.create(tx, operator("test"), bounds, insecure_http=False).id
        until = tx.now() + 60
        made = grants.create(tx, client, person.id, kind="code", scopes=["models:read"], expires_at=until)
    return lambda: person.send(f"/account/authorizations/{made}/revoke")


def give_code(api: Running) -> Callable[[], Response]:
    person = Person(api)
    code = person.recovery_code()
    with api.appliance.store.transaction() as tx:
        passwords.store(tx, person.id, passwords.hash_password(PASSWORD), SYSTEM)
        step = second_factors.begin_step(tx, person.id, "password")
    return lambda: person.send("/second-factor", step=step, code=code)


RECIPES: dict[str, tuple[str, Recipe]] = {
    "POST /account/password": ("user.password_changed", change_password),
    "POST /account/second-factor": ("second_factor.started", start),
    "POST /account/second-factor/confirm": ("second_factor.set", confirm),
    "POST /account/second-factor/remove": ("second_factor.removed", remove),
    "POST /account/sessions/{id}/end": ("session.ended", end_session),
    "DELETE /api/v1/me/sessions/{id}": ("session.ended", end_by_key),
    "POST /account/keys": ("key.created", make_key),
    "POST /account/keys/{id}/revoke": ("key.revoked", revoke_key),
    "POST /account/authorizations/{id}/revoke": ("authorization.revoked", revoke_authorization),
    "POST /second-factor": ("session.opened", give_code),
}
