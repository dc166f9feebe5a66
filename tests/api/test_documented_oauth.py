"""The examples of the guide's chapter on OAuth, run as they stand; the user's click is the test's."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

from tests.support import guide
from tests.support.oauth import FORM, sent_back, session_of
from tests.support.people import person
from tests.support.running import Running


def test_every_example_works_one_after_the_other(api: Running) -> None:
    register, begin, redeem, service = guide.blocks("## OAuth 2.0")
    environment = guide.environment(api)

    def run(lines: str) -> list[dict[str, object]]:
        commands = [line for line in lines.replace("\\\n", " ").splitlines() if line]
        answers = []
        for command in commands:
            told = guide.run(command, environment)
            answers.append(json.loads(told) if told else {})
            for name in ("access_token", "refresh_token"):
                if name in answers[-1]:
                    environment[name.upper()] = answers[-1][name]
        return answers

    (client,) = run(register)
    environment |= {"ID": str(client["id"]), "SECRET": str(client["client_secret"])}
    page, verifier = guide.run(f"{begin}\necho $VERIFIER", environment).splitlines()
    where = urlsplit(page)
    browser = session_of(api, api.ask("GET", "/api/v1/me").json["email"])
    headers = {"Content-Type": FORM, **browser}
    consent = api.ask("POST", f"{where.path}?{where.query}", b"decision=allow", key=None, headers=headers)
    environment |= {"CODE": sent_back(consent)["code"], "VERIFIER": verifier}
    token, models, again, told, revoked = run(redeem)
    assert (token["token_type"], token["scope"]) == ("Bearer", "models:read")
    assert models["total"]
    assert again["refresh_token"] != token["refresh_token"]
    assert told["active"] is True
    assert revoked == {}

    acts = {"name": "Nightly", "grant_types": ["client_credentials"], "scopes": ["models:read"]}
    made = api.ask("POST", "/api/v1/oauth/clients", {**acts, "user_id": person(api).id}).json
    environment |= {"ID": made["id"], "SECRET": made["client_secret"]}
    (token,) = run(service)
    assert token["scope"] == "models:read"
