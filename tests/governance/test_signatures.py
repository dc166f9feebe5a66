"""Promise 29: signatures that others can verify."""

from __future__ import annotations

import hashlib
import hmac
import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from secureai_appliance.governance.signatures import new_secret, signed

BODY = '{"id":"evt-1","event":"user.created","data":{"name":"Zoë"}}'.encode()


@pytest.fixture
def now() -> int:
    """The real time: the public library refuses what is older than five minutes."""
    return int(time.time())


def test_the_public_library_verifies(now: int) -> None:
    secret = new_secret()
    Webhook(secret).verify(BODY, signed([secret], "evt-1", BODY, now))


@pytest.mark.parametrize("what", ["body", "id", "secret"])
def test_the_public_library_refuses_what_was_changed(what: str, now: int) -> None:
    secret = new_secret()
    headers = signed([secret], "evt-1", BODY, now)
    if what == "id":
        headers["webhook-id"] = "evt-2"
    body = BODY + b" " if what == "body" else BODY
    with pytest.raises(WebhookVerificationError):
        Webhook(new_secret() if what == "secret" else secret).verify(body, headers)


def test_while_a_secret_is_rotated_both_verify(now: int) -> None:
    old, new = new_secret(), new_secret()
    headers = signed([new, old], "evt-1", BODY, now)
    Webhook(old).verify(BODY, headers)
    Webhook(new).verify(BODY, headers)
    assert headers["X-SecureAI-Signature"].count("v1=") == 2


def test_our_own_header_is_an_hmac_of_time_and_body_under_the_whole_secret() -> None:
    headers = signed(["whsec_AAAA"], "evt-1", BODY, 1_700_000_000)
    mac = hmac.new(b"whsec_AAAA", b"1700000000." + BODY, hashlib.sha256).hexdigest()
    assert headers["X-SecureAI-Signature"] == f"t=1700000000,v1={mac}"
