"""What a sign-in costs, and whether its time tells if an account exists: `python -m tests.bench.sign_in`."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from pathlib import Path

from secureai_appliance.accounts import passwords, sign_ins, users
from secureai_appliance.accounts.sign_ins import Attempt, SignIns
from secureai_appliance.core.clock import SystemClock
from secureai_appliance.core.errors import AuthenticationError
from secureai_appliance.core.sealing import Sealer
from tests.support.audit import open_audited

ROUNDS = 120
KINDS = {
    "wrong password": "known@example.test",
    "unknown": "nobody@example.test",
    "without a password": "linked@example.test",
    "disabled": "off@example.test",
}


def once(door: SignIns, email: str, n: int) -> float:
    """Milliseconds of one refused sign-in."""
    door.throttle._counts.clear()
    started = time.perf_counter()
    try:
        door.check(email, "wrong horse battery", Attempt(f"192.0.2.{n % 250}"))
    except AuthenticationError:
        return (time.perf_counter() - started) * 1000
    raise SystemExit("a wrong password was right")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = open_audited(Path(folder) / "secureai.db", SystemClock())
        encoded = passwords.hash_password("correct horse battery")
        with store.transaction() as tx:
            users.create(tx, email="known@example.test", name="K", role="user", password_hash=encoded)
            users.create(tx, email="linked@example.test", name="L", role="user")
            users.create(tx, email="off@example.test", name="O", role="user", password_hash=encoded)
            tx.run("UPDATE users SET disabled = 1 WHERE email = 'off@example.test'")
        door = sign_ins.SignIns(store, SystemClock(), Sealer(bytes(32)))
        times: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for n in range(ROUNDS):
            # in another order each time: what slows the machine down slows all of them down
            for kind in random.sample(list(KINDS), len(KINDS)):
                times[kind].append(once(door, KINDS[kind], n))
        store.close()
    for kind, found in times.items():
        middle, spread = statistics.median(found), statistics.quantiles(found, n=10)
        print(f"{kind:20} median {middle:7.2f} ms, 10 % {spread[0]:7.2f}, 90 % {spread[-1]:7.2f}")
    reference = times["wrong password"]
    for kind in list(KINDS)[1:]:
        slower = sum(a > b for a in times[kind] for b in reference) / ROUNDS**2
        print(f"{kind:20} slower than a wrong password in {slower:.1%} of pairs (50 %: not to be told apart)")


if __name__ == "__main__":
    main()
