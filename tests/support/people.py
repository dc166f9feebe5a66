"""Users of a running appliance and what is shared among them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from secureai_appliance.core.ids import new_id
from tests.support.running import Response, Running


@dataclass
class Person:
    """A user with a key."""

    api: Running
    id: str
    key: str

    def ask(self, method: str, path: str, body: Any = None, **more: Any) -> Response:
        return self.api.ask(method, f"/api/v1{path}", body, key=self.key, **more)

    def make(self, path: str, body: dict[str, Any], **fields: Any) -> dict[str, Any]:
        """Create one of these; it has to work."""
        answer = self.ask("POST", path, {"name": new_id("n"), **body, **fields})
        assert answer.status == 201, answer.body
        made: dict[str, Any] = answer.json
        return made


def person(api: Running, role: str = "user") -> Person:
    """A new user."""
    key = api.make_user(f"{new_id('p')}@example.test", role)
    return Person(api, api.ask("GET", "/api/v1/me", key=key).json["id"], key)


def group_of(api: Running, *members: Person) -> str:
    """A new group with these in it."""
    group_id = new_id("grp")
    with api.appliance.store.transaction() as tx:
        tx.run(
            "INSERT INTO groups (id, name, description, created_at, updated_at) VALUES (?, ?, '', 0, 0)",
            group_id,
            group_id,
        )
        for member in members:
            tx.run("INSERT INTO group_members (group_id, user_id) VALUES (?, ?)", group_id, member.id)
    return group_id
