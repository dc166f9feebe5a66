from __future__ import annotations

import threading

import pytest

from secureai_appliance.accounts import passwords
from secureai_appliance.accounts.passwords import Workshop
from secureai_appliance.core.errors import ServiceUnavailable, ValidationError


def test_a_password_is_kept_as_argon2id_and_found_again() -> None:
    encoded = passwords.hash_password("correct horse battery")
    assert encoded.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert passwords.verify_password("correct horse battery", encoded)
    assert not passwords.verify_password("correct horse batterz", encoded)


def test_a_letter_that_keyboards_write_in_two_ways_is_one_letter() -> None:
    assert passwords.verify_password("pa\u0308sswort lang", passwords.hash_password("p\u00e4sswort lang"))


@pytest.mark.parametrize(
    ("password", "constraint"),
    [
        ("short", "min_length"),
        ("x" * 11, "min_length"),
        ("abcdefgh" * 16 + "x", "max_length"),
        ("aaaaaaaaaaaaaaaa", "common"),
        ("abcabcabcabcabc", "common"),
        ("qwertyqwerty", "common"),
        ("Password1234", "common"),
        ("password2026!!", "common"),
        ("123456sunshine", "common"),
        ("JUSTINBIEBER", "common"),
        ("dragonmonkey77", "common"),
        ("with\x00controls!", "format"),
        ("ada@example.org", "common"),
        ("SecureAI-Appliance1", "common"),
    ],
)
def test_a_password_that_is_guessed_early_is_refused(password: str, constraint: str) -> None:
    with pytest.raises(ValidationError) as refused:
        passwords.check_policy(password, "ada@example.org", "Ada Example")
    assert refused.value.details == {"field": "password", "constraint": constraint}
    assert password not in refused.value.message


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery",
        "nur kleine buchstaben",
        "x9!Kd2$mQ8wz",
        "ж" * 4 + "уравль над морем",
        "a b c d e f g h" * 8,
    ],
)
def test_a_long_password_needs_no_kind_of_character(password: str) -> None:
    passwords.check_policy(password, "ada@example.org", "Ada Example")


def test_where_there_is_no_password_the_answer_is_no_after_the_same_work() -> None:
    workshop = Workshop(1)
    assert workshop.verify("correct horse battery", passwords.hash_password("correct horse battery"))
    assert not workshop.verify("correct horse battery", None)


def test_a_flood_of_strangers_is_refused_and_leaves_known_browsers_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    workshop, go_on, inside = Workshop(1), threading.Event(), threading.Semaphore(0)
    most, now = 0, 0
    lock = threading.Lock()

    def verify(password: str, _: str) -> bool:
        nonlocal most, now
        if password == "known":
            return True
        with lock:
            now += 1
            most = max(most, now)
        inside.release()
        go_on.wait(60)
        with lock:
            now -= 1
        return False

    monkeypatch.setattr(passwords, "verify_password", verify)
    monkeypatch.setattr(passwords, "_PATIENCE_SECONDS", 60.0)
    refused = []

    def ask() -> None:
        try:
            workshop.verify("guess", "$argon2id$")
        except ServiceUnavailable:
            refused.append(1)

    flood = [threading.Thread(target=ask) for _ in range(40)]
    for thread in flood:
        thread.start()
    inside.acquire()
    assert workshop.verify("known", "$argon2id$", known=True)
    while len(refused) < 40 - 9:  # one at work, eight wait
        flood[0].join(0.01)
    go_on.set()
    for thread in flood:
        thread.join()
    assert (most, len(refused)) == (1, 31)
