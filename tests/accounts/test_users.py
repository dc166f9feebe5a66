from __future__ import annotations

import pytest

from secureai_appliance.accounts import users
from secureai_appliance.accounts.user_fields import User
from secureai_appliance.core.errors import Conflict, ValidationError
from secureai_appliance.store import Store


def make(store: Store, **fields: str) -> User:
    values = {"email": "ada@example.org", "name": "Ada", "role": "user"} | fields
    with store.transaction() as tx:
        return users.create(tx, **values)


def test_an_address_is_one_user_in_any_case_of_letters(store: Store) -> None:
    made = make(store)
    with pytest.raises(Conflict, match="already"):
        make(store, email="ADA@example.org")
    with store.read() as db:
        assert users.by_email(db, "Ada@Example.Org").id == made.id


@pytest.mark.parametrize(
    ("field", "value"),
    [("email", "ada"), ("email", "a b@c"), ("name", ""), ("name", " "), ("role", "root"), ("tier", "gold")],
)
def test_a_bad_value_is_named(store: Store, field: str, value: str) -> None:
    with pytest.raises(ValidationError) as raised:
        make(store, **{field: value})
    assert raised.value.details["field"] == field
