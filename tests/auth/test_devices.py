"""Logins of programs: a code for people, a secret for the program, and one answer."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from sqlalchemy import text
from sqlalchemy.orm import Mapped, mapped_column

from jetio import ConfigError, Problem, Settings
from jetio_auth import AuthRouter, JetioAuthMixin, JWTConfig
from jetio_auth.grants.device import Challenge, code_of
from tests.auth.forum import PASSWORD, Person, Site, User, bearer, call, new_app, new_base, serving
from tests.auth.test_factors import switch_on
from tests.live import serve

KEY = "k3Jx9Qm2Vw7Lr5Tz8Np4Bc6Hd1Fg0SyA"
SOURCE = """
from sqlalchemy.orm import Mapped, mapped_column

from jetio import Jetio, JetioModel
from jetio_auth import AuthRouter, JetioAuthMixin


class User(JetioModel, JetioAuthMixin):
    username: Mapped[str] = mapped_column(unique=True)


app = Jetio()
AuthRouter(User, prefix="/auth", enable=["device_login"]).register_routes(app)
"""


@pytest.fixture
def site(database_url: str) -> Iterator[Site]:
    """A forum into which programs may log in, on every database."""
    with _forum(database_url) as site:
        yield site


@pytest.fixture
def quick(sqlite_url: str) -> Iterator[Site]:
    """The same on SQLite."""
    with _forum(sqlite_url) as site:
        yield site


def _forum(url: str, extra: Sequence[str] = ()) -> Any:
    app = new_app(url)
    auth = AuthRouter(User, enable=["device_login", *extra])
    auth.register_routes(app)
    auth.register_admin_routes(app)
    auth.register_user_routes(app)
    return serving(app, auth)


class Program:
    """What asks to be let in."""

    def __init__(self, site: Site) -> None:
        answer = site.client.post("/cli-login", headers={"User-Agent": "tool/1"})
        assert answer.status_code == 201, answer.text
        self.site, self.told = site, answer.json()
        self.place = f"/cli-login/{self.told['code']}"

    def poll(self, secret: str | None = None) -> Any:
        """The answer to one question."""
        headers = {"X-CLI-Secret": secret or self.told["secret"]}
        return self.site.client.get(self.place, headers=headers)


def rows(site: Site) -> list[dict[str, Any]]:
    """The challenges as they are stored."""

    async def read() -> list[dict[str, Any]]:
        async with site.app.database.sessions() as session:
            found = await session.execute(text("SELECT * FROM jetio_auth_users_devices"))
            return [dict(row._mapping) for row in found]

    stored: list[dict[str, Any]] = site.run(read)
    return stored


def names(site: Site, admin: Person) -> list[str]:
    found = admin.get("/admin/auth-events").json()
    return [entry["name"] for entry in reversed(found) if entry["name"].startswith("device.")]


def test_a_program_is_let_in(site: Site) -> None:
    """Approved by its code, it collects tokens once with its secret, of which nothing is left; the row stays."""
    admin, ann, program = site.admin(), site.person("ann"), Program(site)
    assert code_of(program.told["code"]) == program.told["code"]
    assert program.told["approve_url"].endswith(f"/cli-login/approve?code={program.told['code']}")
    assert (program.told["expires_in"], program.told["interval"]) == (300, 2)
    assert program.poll().json() == {"status": "pending", "token": None}
    [stored] = rows(site)
    assert stored["status"] == "pending"
    assert program.told["secret"] not in str(stored)
    approved = ann.request("PATCH", program.place)
    assert (approved.status_code, approved.json()) == (200, {"status": "approved"})
    collected = program.poll()
    assert collected.headers["cache-control"] == "no-store"
    pair = collected.json()
    me = site.client.get("/me", headers=bearer(pair["token"])).json()
    assert me["username"] == ann.username
    devices = site.client.get("/sessions", headers=bearer(pair["token"])).json()
    assert [item["method"] for item in devices if item["current"]] == ["device"]
    assert site.client.post("/refresh", json={"refresh_token": pair["refresh_token"]}).status_code == 200
    assert program.poll().status_code == 404
    [kept] = rows(site)
    assert (kept["status"], kept["secret"], kept["user_id"]) == ("redeemed", None, ann.id)
    assert pair["token"] not in str(kept)
    assert names(site, admin) == ["device.created", "device.approved", "device.redeemed"]


def test_a_program_is_refused(site: Site) -> None:
    """It is told so once; a code that was decided is decided."""
    admin, ann, program = site.admin(), site.person("ann"), Program(site)
    assert ann.delete(program.place).status_code == 204
    for method in ("PATCH", "DELETE"):
        assert ann.request(method, program.place).json()["code"] == "conflict"
    assert program.poll().json() == {"status": "rejected", "token": None}
    assert program.poll().status_code == 404
    assert rows(site)[0]["secret"] is None
    assert names(site, admin) == ["device.created", "device.rejected"]


def test_of_many_who_ask_at_once_one_is_told_no(site: Site) -> None:
    """The refusal is told once; to the others there is nothing."""
    ann, program = site.person("ann"), Program(site)
    assert ann.delete(program.place).status_code == 204

    async def ask() -> Counter[int]:
        secret = {"X-CLI-Secret": program.told["secret"]}
        calls = [call(site.app, "GET", program.place, headers=secret) for _ in range(8)]
        return Counter(answer.status for answer in await asyncio.gather(*calls))

    assert site.run(ask) == {200: 1, 404: 7}


def test_of_two_who_decide_one_wins(site: Site) -> None:
    """Eight approvals and rejections at once: one is heard, the others clash; of eight questions one is answered."""
    people = [site.person("ann") for _ in range(8)]
    program = Program(site)

    async def decide() -> Counter[int]:
        answers = await asyncio.gather(
            *(
                call(site.app, method, program.place, headers=person.headers)
                for person, method in zip(people, ["PATCH", "DELETE"] * 4, strict=True)
            )
        )
        return Counter(200 if answer.status < 300 else answer.status for answer in answers)

    assert site.run(decide) == {200: 1, 409: 7}
    second = Program(site)
    assert people[0].request("PATCH", second.place).status_code == 200

    async def collect() -> Counter[int]:
        secret = {"X-CLI-Secret": second.told["secret"]}
        answers = await asyncio.gather(
            *(call(site.app, "GET", second.place, headers=secret) for _ in range(8))
        )
        return Counter(answer.status for answer in answers)

    assert site.run(collect) == {200: 1, 404: 7}


def test_only_a_get_collects(quick: Site) -> None:
    """HEAD, which could not carry the tokens, is refused and uses nothing up."""
    ann, program = quick.person("ann"), Program(quick)
    assert ann.request("PATCH", program.place).status_code == 200
    refused = quick.client.head(program.place, headers={"X-CLI-Secret": program.told["secret"]})
    assert (refused.status_code, refused.headers["allow"]) == (405, "DELETE, GET, OPTIONS, PATCH")
    assert program.poll().json()["status"] == "approved"


def test_a_challenge_does_not_show_its_secret() -> None:
    """What a log or a debugger writes of it names the code alone."""
    assert repr(Challenge(code="BBBB-BBBB", secret="of the program")) == "Challenge(code='BBBB-BBBB')"


def test_codes_expire(quick: Site) -> None:
    """After five minutes nobody can approve, and what was approved cannot be collected."""
    with time_machine.travel(time.time(), tick=False) as clock:
        ann, late, slow = quick.person("ann"), Program(quick), Program(quick)
        assert ann.request("PATCH", slow.place).status_code == 200
        clock.shift(timedelta(seconds=300))
        for answer in (late.poll(), slow.poll(), ann.request("PATCH", late.place), ann.delete(late.place)):
            assert (answer.status_code, answer.json()["code"]) == (410, "expired")
        assert quick.client.get(late.told["approve_url"]).status_code == 410


def test_too_many_questions(quick: Site) -> None:
    """While nobody has decided a program asks every two seconds; the answer that it waits for comes at once."""
    with time_machine.travel(time.time(), tick=False) as clock:
        ann, program = quick.person("ann"), Program(quick)
        assert program.poll().json()["status"] == "pending"
        clock.shift(timedelta(seconds=1))
        hasty = program.poll()
        assert (hasty.status_code, hasty.headers["retry-after"]) == (429, "2")
        clock.shift(timedelta(seconds=1))
        assert program.poll().json()["status"] == "pending"
        assert ann.request("PATCH", program.place).status_code == 200
        assert program.poll().json()["status"] == "approved"


def test_only_the_secret_asks(quick: Site) -> None:
    """A wrong secret, another program's and an unknown code are alike; the query may carry the secret too."""
    program, other = Program(quick), Program(quick)
    for secret in ("wrong", other.told["secret"]):
        assert program.poll(secret).status_code == 404
    unknown = quick.client.get("/cli-login/BBBB-BBBB", headers={"X-CLI-Secret": "wrong"})
    assert unknown.status_code == 404
    missing = quick.client.get(program.place)
    assert (missing.status_code, missing.json()["errors"][0]["header"]) == (422, "X-CLI-Secret")
    secret = program.told["secret"]
    assert quick.client.get(program.place, params={"secret": secret}).json()["status"] == "pending"


def test_who_may_decide(quick: Site) -> None:
    """Anonymous callers are asked to log in, and a login of long ago to log in again (RFC 9470)."""
    program = Program(quick)
    for method in ("PATCH", "DELETE"):
        assert quick.client.request(method, program.place).json()["code"] == "not_authenticated"
    ann = quick.person("ann")
    assert ann.request("PATCH", "/cli-login/BBBB-BBBB").status_code == 404
    with time_machine.travel(time.time() + 15 * 60, tick=False):
        program = Program(quick)
        assert ann.request("PATCH", program.place).json()["code"] == "fresh_login_required"
        assert ann.delete(program.place).status_code == 204


def test_a_code_is_read_as_people_type_it(quick: Site) -> None:
    """Small letters, blanks and a missing hyphen mean the same code."""
    ann, program = quick.person("ann"), Program(quick)
    typed = program.told["code"].lower().replace("-", " ")
    assert ann.request("PATCH", f"/cli-login/{typed}").status_code == 200


@pytest.mark.parametrize("change", ["disabled", "password", "deleted"])
def test_the_account_is_judged_again(quick: Site, change: str) -> None:
    """An account that is disabled, deleted or has another password meanwhile gives no token."""
    admin, ann, program = quick.admin(), quick.person("ann"), Program(quick)
    assert ann.request("PATCH", program.place).status_code == 200
    if change == "disabled":
        quick.change(ann, is_active=False)
    elif change == "password":
        body = {"current_password": PASSWORD, "new_password": "another long password"}
        assert ann.post("/change-password", body).status_code == 200
    else:

        async def remove() -> None:
            async with quick.app.database.sessions() as session:
                await session.delete(await session.get(User, ann.id))
                await session.commit()

        quick.run(remove)
    answer = program.poll()
    if change == "deleted":
        assert answer.status_code == 404
        return
    assert answer.json() == {"status": "rejected", "token": None}
    assert program.poll().status_code == 404
    assert rows(quick)[0]["status"] == "rejected"
    assert names(quick, admin)[-1] == "device.rejected"


def test_what_is_no_refusal_uses_nothing_up(quick: Site) -> None:
    """A condition of logins that cannot answer now is told as it is; the program asks again and is let in."""
    away = True

    async def condition(account: Any, device: Any) -> None:
        if away and device.method == "device":
            raise Problem(503, "unavailable", "Come back later")

    ann, program = quick.person("ann"), Program(quick)
    assert ann.request("PATCH", program.place).status_code == 200
    quick.auth.logins.conditions.append(condition)
    assert (program.poll().status_code, rows(quick)[0]["status"]) == (503, "approved")
    away = False
    assert program.poll().json()["status"] == "approved"


def test_a_program_is_let_in_as_strongly_as_whoever_lets_it_in(sqlite_url: str) -> None:
    """A second factor is asked of the person, once, and never of the program."""
    with _forum(sqlite_url, extra=["totp"]) as site:
        ann, program = site.person("ann"), Program(site)
        _, [code, *_] = switch_on(ann)
        weak = ann.request("PATCH", program.place)
        assert (weak.status_code, weak.json()["code"]) == (401, "mfa_required")
        body = {"username": ann.username, "password": PASSWORD}
        first = site.client.post("/login", json=body).json()
        proof = {"mfa_token": first["mfa_token"], "recovery_code": code}
        token = site.client.post("/login/mfa", json=proof).json()["access_token"]
        assert site.client.patch(program.place, headers=bearer(token)).status_code == 200
        pair = program.poll().json()
        claims = site.auth.authenticator.codec.decode(pair["token"])
        assert claims["amr"] == ["device", "mfa"]


def _claims(site: Site, token: str) -> dict[str, Any]:
    found: dict[str, Any] = dict(site.auth.authenticator.codec.decode(token))
    return found


def _let_in(site: Site, token: str) -> dict[str, Any]:
    """What a program collects that the owner of a token has let in."""
    program = Program(site)
    assert site.client.patch(program.place, headers=bearer(token)).status_code == 200
    pair: dict[str, Any] = program.poll().json()
    return pair


def test_a_programs_login_is_no_fresher_than_its_approval(quick: Site) -> None:
    """It is as old as the proof that it goes back to, also after a refresh, and lasts no longer than that session."""
    with time_machine.travel(time.time(), tick=False) as clock:
        ann = quick.person("ann")
        proved = _claims(quick, ann.token)["auth_time"]
        clock.shift(timedelta(minutes=10))
        pair = _let_in(quick, ann.token)
        after = quick.client.post("/refresh", json={"refresh_token": pair["refresh_token"]}).json()
        for token in (pair["token"], after["access_token"]):
            assert _claims(quick, token)["auth_time"] == proved
        listed = quick.client.get("/sessions", headers=bearer(pair["token"])).json()
        created = {item["method"]: item["created_at"] for item in listed}
        assert created["device"] != created["password"]
        clock.shift(timedelta(minutes=5))
        program = Program(quick)
        refused = quick.client.patch(program.place, headers=bearer(pair["token"]))
        assert (refused.status_code, refused.json()["code"]) == (401, "fresh_login_required")


def test_a_programs_session_ends_with_the_one_that_let_it_in(sqlite_url: str) -> None:
    """However a chain of programs goes on, the longest that a session may last is counted from the login."""
    jwt = JWTConfig(session_max=300, refresh_token_expiry=300)
    app = new_app(sqlite_url)
    auth = AuthRouter(User, enable=["device_login"], jwt=jwt)
    auth.register_routes(app)
    with serving(app, auth) as site, time_machine.travel(time.time(), tick=False) as clock:
        ann = site.person("ann")
        clock.shift(timedelta(seconds=200))
        first = _let_in(site, ann.token)
        second = _let_in(site, first["token"])
        assert second["refresh_expires_in"] == 100
        clock.shift(timedelta(seconds=100))
        for pair in (first, second):
            assert site.client.get("/me", headers=bearer(pair["token"])).status_code == 401
            refresh = {"refresh_token": pair["refresh_token"]}
            assert site.client.post("/refresh", json=refresh).status_code == 401


def test_without_sessions_a_programs_login_is_no_fresher_either(sqlite_url: str) -> None:
    """The proof goes with the token; and a program that was approved before the account was off is not let in."""
    app = new_app(sqlite_url)
    auth = AuthRouter(User, enable=["device_login"], disable=["sessions", "refresh"])
    auth.register_routes(app)
    auth.register_admin_routes(app)
    with serving(app, auth) as site, time_machine.travel(time.time(), tick=False) as clock:
        ann, program = site.person("ann"), Program(site)
        clock.shift(timedelta(minutes=10))
        pair = _let_in(site, ann.token)
        assert _claims(site, pair["token"])["auth_time"] == _claims(site, ann.token)["auth_time"]
        assert ann.request("PATCH", program.place).json()["code"] == "expired"
        late, admin = Program(site), site.admin()
        assert ann.request("PATCH", late.place).status_code == 200
        for way in ("disable", "enable"):
            assert admin.post(f"/admin/users/{ann.id}/{way}").status_code == 200
        assert late.poll().json() == {"status": "rejected", "token": None}


@pytest.mark.parametrize(
    "end",
    [
        "everywhere",
        "others",
        "others by himself",
        "one",
        "logout",
        "by an admin",
        "off and on",
        "updated off and on",
    ],
)
def test_whoever_is_logged_out_lets_nobody_in(quick: Site, end: str) -> None:
    """Nor whoever logs the others out: a program that was approved before gets no token, and its code is used up."""
    admin, ann, program = quick.admin(), quick.person("ann"), Program(quick)
    other = quick.login(ann.username).json()["access_token"]
    assert ann.request("PATCH", program.place).status_code == 200
    if end == "everywhere":
        assert quick.client.delete("/sessions?all=true", headers=bearer(other)).status_code == 204
    elif end == "others":
        assert quick.client.delete("/sessions", headers=bearer(other)).status_code == 204
    elif end == "others by himself":
        assert ann.delete("/sessions").status_code == 204
    elif end == "one":
        sid = _claims(quick, ann.token)["sid"]
        assert quick.client.delete(f"/sessions/{sid}", headers=bearer(other)).status_code == 204
    elif end == "logout":
        assert ann.post("/logout").status_code == 200
    elif end == "by an admin":
        assert admin.post(f"/admin/users/{ann.id}/revoke-sessions").status_code == 200
    elif end == "off and on":
        for way in ("disable", "enable"):
            assert admin.post(f"/admin/users/{ann.id}/{way}").status_code == 200
    else:
        for value in (False, True):
            assert admin.patch(f"/users/{ann.id}", {"is_active": value}).status_code == 200
    assert program.poll().json() == {"status": "rejected", "token": None}
    assert program.poll().status_code == 404
    [stored] = rows(quick)
    assert (stored["status"], stored["secret"]) == ("rejected", None)


def test_logged_out_while_the_program_collects(site: Site) -> None:
    """Whichever of the two comes first, nothing is left that is logged in."""
    for _ in range(3):
        ann, program = site.person("ann"), Program(site)
        assert ann.request("PATCH", program.place).status_code == 200

        async def both(path: str, headers: dict[str, str], secret: dict[str, str]) -> Any:
            return await asyncio.gather(
                call(site.app, "GET", path, headers=secret),
                call(site.app, "DELETE", "/sessions", headers=headers, query="all=true"),
            )

        secret = {"X-CLI-Secret": program.told["secret"]}
        collected, ended = site.run(both, program.place, ann.headers, secret)
        assert (collected.status, ended.status) == (200, 204)
        token = json.loads(collected.body)["token"]
        if token is not None:
            assert site.client.get("/me", headers=bearer(token)).status_code == 401


def test_a_login_for_the_program_alone_ends_with_it(site: Site) -> None:
    """`log_out` ends the session that approves when the program has its tokens, and not before."""
    ann, program = site.person("ann"), Program(site)
    assert ann.request("PATCH", program.place, json={"log_out": True}).status_code == 200
    assert ann.get("/me").status_code == 200
    pair = program.poll().json()
    assert ann.get("/me").status_code == 401
    listed = site.client.get("/sessions", headers=bearer(pair["token"])).json()
    assert [item["method"] for item in listed] == ["device"]


def test_a_second_factor_of_meanwhile_refuses_the_program(sqlite_url: str) -> None:
    """It was approved by one factor: it is told no, and gets nothing with which it could go on."""
    with _forum(sqlite_url, extra=["totp"]) as site:
        ann, program = site.person("ann"), Program(site)
        assert ann.request("PATCH", program.place).status_code == 200
        switch_on(ann)
        assert program.poll().json() == {"status": "rejected", "token": None}
        assert program.poll().status_code == 404


def test_limits_by_address(sqlite_url: str) -> None:
    """Ten challenges a minute from one address, and twenty wrong codes in a quarter of an hour; right ones are free."""
    with _forum(sqlite_url) as site:
        ann = site.person("ann")

        async def begin(address: str, times: int) -> list[int]:
            return [
                (await call(site.app, "POST", "/cli-login", address=address)).status for _ in range(times)
            ]

        assert site.run(begin, "192.0.2.1", 11) == [201] * 10 + [429]
        assert site.run(begin, "192.0.2.2", 1) == [201]
        assert site.run(begin, "127.0.0.1", 11) == [201] * 11
        program = Program(site)

        right = f"/cli-login/{program.told['code']}"
        assert site.run(_pages, site, program.told["code"], 25) == {200: 25}
        assert site.run(_pages, site, "BBBB-BBBB", 21) == {404: 20, 429: 1}
        refused = site.run(call, site.app, "PATCH", right, headers=ann.headers, address="192.0.2.9")
        assert refused.code == "rate_limited"
        assert ann.request("PATCH", right).status_code == 200


async def _pages(site: Site, code: str, times: int) -> Counter[int]:
    """The page of a code, asked for again and again from one address."""
    found: Counter[int] = Counter()
    for _ in range(times):
        answer = await call(site.app, "GET", "/cli-login/approve", query=f"code={code}", address="192.0.2.9")
        found[answer.status] += 1
    return found


def test_what_is_old_is_dropped(quick: Site) -> None:
    """Challenges are kept as long as events."""
    start = time.time()
    with time_machine.travel(start, tick=False):
        Program(quick)
    with time_machine.travel(start + 91 * 86400, tick=False):
        Program(quick)
    assert len(rows(quick)) == 1


def test_off_there_is_nothing(sqlite_url: str) -> None:
    """Without the feature there is no route and no table."""
    base: Any = new_base()

    class Member(base, JetioAuthMixin):
        username: Mapped[str] = mapped_column(unique=True)

    app = new_app(sqlite_url, metadata=base.metadata)
    auth = AuthRouter(Member)
    auth.register_routes(app)
    assert not any("device" in name for name in base.metadata.tables)
    with serving(app, auth) as site:
        assert site.client.post("/cli-login").status_code == 404
        assert "/cli-login" not in str(app.openapi())
    with pytest.raises(ConfigError, match="did you mean 'device_login'"):
        AuthRouter(User, enable=["device_logins"])


def test_a_closed_application_lets_programs_ask(sqlite_url: str) -> None:
    """`protect` leaves the program's routes and the page open: they say themselves who may use them."""
    app = new_app(sqlite_url)
    auth = AuthRouter(User, enable=["device_login"])
    auth.register_routes(app)
    auth.protect(app)
    with serving(app, auth) as site:
        program = Program(site)
        assert program.poll().status_code == 200
        assert site.client.get(program.told["approve_url"]).status_code == 200
        assert site.client.patch(program.place).status_code == 401


def test_people_are_sent_to_the_address_that_is_configured(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With DOMAIN no request says where the page is."""
    monkeypatch.setenv("DOMAIN", "https://forum.example/api")
    with _forum(sqlite_url) as site:
        told = Program(site).told
        assert told["approve_url"] == f"https://forum.example/api/cli-login/approve?code={told['code']}"


def test_the_page_holds_nothing_that_runs_but_its_own(quick: Site) -> None:
    """What the program calls itself is text; the page cannot be framed, kept or followed."""
    headers = {"User-Agent": "<script>alert(1)</script>"}
    told = quick.client.post("/cli-login", headers=headers).json()
    page = quick.client.get(told["approve_url"])
    assert "<script>alert" not in page.text
    assert "&lt;script&gt;alert(1)" in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert (page.headers["cache-control"], page.headers["x-frame-options"]) == ("no-store", "DENY")
    assert page.headers["referrer-policy"] == "no-referrer"
    odd = quick.client.get("/cli-login/approve", params={"code": '"><script>alert(2)</script>'})
    assert odd.status_code == 404
    assert "<script>" not in odd.text
    assert quick.client.get("/cli-login/approve").status_code == 200


def test_the_page_of_a_code_that_is_decided(quick: Site) -> None:
    """It says so, and shows no more."""
    ann = quick.person("ann")
    for method, said in (("PATCH", "approved already"), ("DELETE", "has been rejected")):
        program = Program(quick)
        ann.request(method, program.place)
        page = quick.client.get(program.told["approve_url"]).text
        assert said in page
        assert "tool/1" not in page


def test_secrets_stay_out_of_the_log(tmp_path: Path) -> None:
    """A secret in the query string is not in the line that the server writes of the request."""
    with serve(tmp_path, source=SOURCE) as server:
        told = server.client.post("/auth/cli-login").json()
        path = f"/auth/cli-login/{told['code']}"
        assert server.client.get(path, params={"secret": told["secret"]}).status_code == 200
        assert f"{path}?secret=..." in server.log
        assert told["secret"] not in server.log


def test_a_caller_without_an_address(quick: Site) -> None:
    """Behind a socket of the file system there is no address to count: nothing is in the way."""

    async def ask() -> list[int]:
        told = [await call(quick.app, "POST", "/cli-login", address=None) for _ in range(11)]
        page = await call(quick.app, "GET", "/cli-login/approve", query="code=BBBB-BBBB", address=None)
        return [*(answer.status for answer in told), page.status]

    assert quick.run(ask) == [201] * 11 + [404]


def test_production_counts_this_machine(sqlite_url: str) -> None:
    """Behind a proxy every address is this machine's: there it counts, too."""
    app = new_app(sqlite_url, settings=Settings(env="production", secret_key=KEY))
    auth = AuthRouter(User, enable=["device_login"])
    auth.register_routes(app)
    with serving(app, auth) as site:
        site.run(app.database.create_tables, User.metadata)
        found = [site.client.post("/cli-login").status_code for _ in range(11)]
        assert found == [201] * 10 + [429]
