"""`/schedule` of a running appliance."""

from __future__ import annotations

from tests.support.running import Running


def test_an_administrator_sees_what_is_done_and_when(api: Running) -> None:
    shown = api.ask("GET", "/api/v1/schedule").json
    assert shown["total"] == len(shown["data"]) > 4
    jobs = {job["name"]: job for job in shown["data"]}
    assert list(jobs) == sorted(jobs)
    daily = jobs["retention of the audit log"]
    assert daily["every_seconds"] == 86400
    assert daily["next_run_at"] > daily["next_run_at"][:10]
    assert jobs["unfinished uploads"]["every_seconds"] == 3600
    assert all(job["failures"] == 0 for job in jobs.values()), jobs
    narrow = api.ask("GET", "/api/v1/schedule?page=2&page_size=2").json
    assert [job["name"] for job in narrow["data"]] == list(jobs)[2:4]
