"""The account page over HTTP, in this thread."""

from __future__ import annotations

import re

import pytest

from secureai_appliance.accounts import passwords, sessions, users
from secureai_appliance.accounts.callers import operator
from secureai_appliance.accounts.oauth import clients, grants
from secureai_appliance.accounts.oauth.clients import ClientCreate
from tests.support.clock import FakeClock
from tests.support.pages import Visitor, shown, with_pages
from tests.support.totp import code_of
from tests.support.web import App

ADA, PASSWORD, NEW = "ada@example.org", "correct horse battery", "a new staple for it"


@pytest.fixture
def pages(cheap_passwords: None, app: App) -> App:
    with app.parts.store.transaction() as tx:
        users.create(tx, email=ADA, name="Ada", role="user", password_hash=passwords.hash_password(PASSWORD))
        users.create(tx, email="linked@example.org", name="Linked", role="user")
    return with_pages(app)


@pytest.fixture
def ada(pages: App) -> Visitor:
    visitor = Visitor(pages)
    assert visitor.sign_in(ADA, PASSWORD).status == 303
    return visitor


def by_link(pages: App, email: str) -> Visitor:
    with pages.parts.store.transaction() as tx:
        token = sessions.create_link(tx, users.by_email(tx, email).id)
    visitor = Visitor(pages)
    visitor.post(f"/sign-in/{token}")
    return visitor


def set_up(ada: Visitor, clock: FakeClock) -> tuple[str, list[str]]:
    """The secret and the recovery codes."""
    assert ada.post("/account/second-factor").status == 303
    page = shown(ada.get("/account"))
    secret = re.search(r"Secret: <code>([A-Z2-7]{32})</code>", page)
    assert secret is not None
    assert 'src="data:image/svg+xml' in page
    done = ada.post("/account/second-factor/confirm", code=code_of(secret[1], clock.now()))
    assert done.status == 200
    return secret[1], re.findall(r"<code>([a-z2-7]{4}(?:-[a-z2-7]{4}){3})</code>", shown(done))


def step_of(page: str) -> str:
    found = re.search(r'name="step" value="(\w+)"', page)
    assert found is not None
    return found[1]


def test_a_new_password_needs_the_old_one_and_ends_the_other_sessions(pages: App, ada: Visitor) -> None:
    other = Visitor(pages)
    other.sign_in(ADA, PASSWORD)
    wrong = ada.post("/account/password", current="wrong", password=NEW, again=NEW)
    assert (wrong.status, "current password is wrong" in shown(wrong)) == (403, True)
    before = dict(ada.cookies)
    assert ada.post("/account/password", current=PASSWORD, password=NEW, again=NEW).status == 303
    assert ADA in shown(ada.get("/account?done=password"))
    assert other.get("/account").status == 303
    assert Visitor(pages, cookies=before).get("/account").status == 303  # what somebody had copied is worth nothing
    assert Visitor(pages).sign_in(ADA, PASSWORD).status == 403
    assert Visitor(pages).sign_in(ADA, NEW).status == 303


@pytest.mark.parametrize(
    ("password", "again", "says"),
    [
        ("short", "short", "at least 12"),
        (NEW, f"{NEW} ", "not the same"),
        ("password1234", "password1234", "guessed first"),
        ("ada@example.org!", "ada@example.org!", "your own name"),
    ],
)
def test_a_refused_password_changes_nothing_and_says_why(
    pages: App, ada: Visitor, password: str, again: str, says: str
) -> None:
    got = ada.post("/account/password", current=PASSWORD, password=password, again=again)
    assert got.status == 400
    assert says in shown(got)
    assert password not in shown(got)
    assert Visitor(pages).sign_in(ADA, PASSWORD).status == 303


def test_guessing_the_current_password_is_throttled(ada: Visitor) -> None:
    answers = [ada.post("/account/password", current="wrong", password=NEW, again=NEW) for _ in range(6)]
    assert [got.status for got in answers] == [403] * 5 + [429]


def test_whoever_came_by_a_link_sets_a_first_password(pages: App) -> None:
    visitor = by_link(pages, "linked@example.org")
    assert "Current password" not in shown(visitor.get("/account"))
    assert visitor.post("/account/password", password=NEW, again=NEW).status == 303
    assert Visitor(pages).sign_in("linked@example.org", NEW).status == 303


def test_with_a_second_factor_a_password_opens_nothing_without_a_code(
    pages: App, ada: Visitor, clock: FakeClock
) -> None:
    secret, codes = set_up(ada, clock)
    assert len(codes) == 10
    clock.advance(30)
    visitor = Visitor(pages)
    asked = visitor.sign_in(ADA, PASSWORD, return_to="/account")
    assert (asked.status, visitor.cookies) == (200, {})
    step = step_of(shown(asked))
    wrong = visitor.post("/second-factor", step=step, code="000000", return_to="/account")
    assert (wrong.status, visitor.cookies) == (403, {})
    right = code_of(secret, clock.now())
    done = visitor.post("/second-factor", step=step, code=right, return_to="/account")
    assert (done.status, done.headers["location"]) == (303, "/account")
    assert ADA in shown(visitor.get("/account"))

    # neither the step nor the code works again
    assert Visitor(pages).post("/second-factor", step=step, code=right).status == 404
    again = step_of(shown(Visitor(pages).sign_in(ADA, PASSWORD)))
    assert Visitor(pages).post("/second-factor", step=again, code=right).status == 403
    assert Visitor(pages).post("/second-factor", step=again, code=codes[3]).status == 303


def test_a_link_does_not_get_around_the_second_factor(pages: App, ada: Visitor, clock: FakeClock) -> None:
    set_up(ada, clock)
    assert by_link(pages, ADA).cookies == {}


def test_somebody_already_signed_in_can_sign_in_again_with_a_code(pages: App, ada: Visitor, clock: FakeClock) -> None:
    set_up(ada, clock)
    clock.advance(300)  # so long that looking at the page is noted
    assert ada.sign_in(ADA, PASSWORD).status == 200


def test_a_sign_in_has_five_tries_for_its_code(pages: App, ada: Visitor, clock: FakeClock) -> None:
    secret, _ = set_up(ada, clock)
    clock.advance(30)
    step = step_of(shown(Visitor(pages, "198.51.100.9").sign_in(ADA, PASSWORD)))
    for n in range(5):
        assert Visitor(pages, f"198.51.100.{n}").post("/second-factor", step=step, code="000000").status == 403
    right = code_of(secret, clock.now())
    assert Visitor(pages, "198.51.100.9").post("/second-factor", step=step, code=right).status == 404


def test_the_second_factor_is_taken_away_with_a_code_only(pages: App, ada: Visitor, clock: FakeClock) -> None:
    _, codes = set_up(ada, clock)
    assert ada.post("/account/second-factor/remove", code="000000").status == 403
    assert ada.post("/account/second-factor/remove", code=codes[0]).status == 303
    assert Visitor(pages).sign_in(ADA, PASSWORD).status == 303


def test_switching_the_factor_on_ends_other_sessions(pages: App, ada: Visitor, clock: FakeClock) -> None:
    other = Visitor(pages)
    other.sign_in(ADA, PASSWORD)
    set_up(ada, clock)
    assert other.get("/account").status == 303
    assert ada.get("/account").status == 200


def test_another_session_can_be_ended_and_anothers_can_not(pages: App, ada: Visitor) -> None:
    other, stranger = Visitor(pages, "192.0.2.5"), by_link(pages, "linked@example.org")
    other.sign_in(ADA, PASSWORD)
    ids = re.findall(r"/account/sessions/(ses-\w+)/end", shown(ada.get("/account")))
    assert len(ids) == 1  # the own one has no button
    assert stranger.post(f"/account/sessions/{ids[0]}/end").status == 404
    assert ada.post(f"/account/sessions/{ids[0]}/end").status == 303
    assert other.get("/account").status == 303


def test_a_key_is_shown_once_works_and_is_revoked(pages: App, ada: Visitor) -> None:
    made = shown(ada.post("/account/keys", name="<b>reports</b>", expires="2027-01-31"))
    key = re.search(r"<code>(sk-\w{43})</code>", made)
    assert key is not None
    page = ada.get("/account")
    assert key[1] not in shown(page)
    assert b"<b>" not in page.body
    assert "2027-01-31T00:00:00Z" in shown(page)
    assert pages.call("GET", "/api/v1/me", key=key[1]).json["email"] == ADA
    key_id = re.search(r"/account/keys/(key-\w+)/revoke", shown(page))
    assert key_id is not None
    assert ada.post(f"/account/keys/{key_id[1]}/revoke").status == 303
    assert pages.call("GET", "/api/v1/me", key=key[1]).status == 401
    assert ada.post("/account/keys", name="", expires="").status == 400


def test_a_key_made_on_the_page_lives_longer_than_the_session(pages: App, ada: Visitor, clock: FakeClock) -> None:
    key = re.search(r"<code>(sk-\w{43})</code>", shown(ada.post("/account/keys", name="k", expires="")))
    assert key is not None
    clock.advance(30 * 24 * 3600)
    assert pages.call("GET", "/api/v1/me", key=key[1]).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/account/password",
        "/account/second-factor",
        "/account/second-factor/confirm",
        "/account/second-factor/remove",
        "/account/keys",
        "/account/keys/key-x/revoke",
        "/account/sessions/ses-x/end",
    ],
)
def test_another_sites_form_changes_no_account(ada: Visitor, path: str) -> None:
    for origin in ("https://evil.example", "null", None):
        assert ada.post(path, origin=origin).status == 403
    assert Visitor(ada.app).post(path).headers["location"] == "/sign-in"


def test_a_while_after_signing_in_keys_and_the_second_factor_ask_for_the_password_again(
    pages: App, ada: Visitor, clock: FakeClock
) -> None:
    assert "once more" not in shown(ada.get("/account"))
    _, recovery = set_up(ada, clock)
    clock.advance(sessions.RECENT + 1)
    assert shown(ada.get("/account")).count("once more") == 2
    for path, fields in (
        ("/account/keys", {"name": "k"}),
        ("/account/second-factor/remove", {"code": recovery[0]}),
    ):
        for given in ({}, {"current": "wrong"}):
            refused = ada.post(path, **fields, **given)
            assert (refused.status, "current password is wrong" in shown(refused)) == (403, True)
    with pages.parts.store.read() as db:
        assert db.value("SELECT COUNT(*) FROM api_keys k JOIN users u ON u.id = k.user_id WHERE u.email = ?", ADA) == 0
    assert "sk-" in shown(ada.post("/account/keys", name="k", current=PASSWORD))
    assert ada.post("/account/second-factor/remove", code=recovery[0], current=PASSWORD).status == 303
    assert ada.post("/account/second-factor").status == 403
    assert ada.post("/account/second-factor", current=PASSWORD).status == 303
    page = shown(ada.get("/account"))
    found = re.search(r"Secret: <code>([A-Z2-7]{32})</code>", page)
    assert found is not None
    code = code_of(found[1], clock.now())
    assert ada.post("/account/second-factor/confirm", code=code).status == 403
    assert ada.post("/account/second-factor/confirm", code=code, current=PASSWORD).status == 200


def test_the_password_is_not_asked_of_who_has_none(pages: App, clock: FakeClock) -> None:
    linked = by_link(pages, "linked@example.org")
    clock.advance(sessions.RECENT + 1)
    assert "sk-" in shown(linked.post("/account/keys", name="k"))


def test_programs_that_act_for_one_are_shown_and_ended(pages: App, ada: Visitor) -> None:
    with pages.parts.store.transaction() as tx:
        bounds = ClientCreate(name="Notes", redirect_uris=["http://127.0.0.1/"], scopes=["models:read"])
        client = clients.create(tx, operator("test"), bounds, insecure_http=False).id
        until, kind = tx.now() + 3600, ("code", ["models:read"])
        made, linked = (
            grants.create(tx, client, users.by_email(tx, email).id, kind=kind[0], scopes=kind[1], expires_at=until)
            for email in (ADA, "linked@example.org")
        )
    page = shown(ada.get("/account"))
    assert ("Notes" in page, made in page, linked in page) == (True, True, False)
    assert "List models and see their state" in page
    assert ada.post(f"/account/authorizations/{linked}/revoke").status == 404
    assert ada.post(f"/account/authorizations/{made}/revoke").status == 303
    assert "Notes" not in shown(ada.get("/account"))
