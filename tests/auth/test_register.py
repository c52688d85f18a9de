"""POST /register: the model's own fields, one canonical name each, no rights for oneself."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, mapped_column

from jetio import CrudRouter, Database, Jetio
from jetio_auth import AuthRouter, JetioAuthMixin, Lockout, PasswordPolicy
from jetio_auth.names import canonical, canonical_or_typed
from tests.auth.forum import PASSWORD, SETTINGS, Site, User, call, new_app, new_base, serving

LETTER = "\ufdfa"  # one character that folds to eighteen


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The forum on SQLite."""
    app = new_app(f"sqlite:///{tmp_path_factory.mktemp('site')}/forum.db")
    auth = AuthRouter(User, lockout=Lockout(address_failures=1000))
    auth.register_routes(app)
    with serving(app, auth) as site:
        yield site


def errors_of(answer: Any) -> set[tuple[str, str]]:
    """The fields of a 422 and what is wrong with them."""
    assert answer.status_code == 422, answer.text
    return {(entry["pointer"], entry["code"]) for entry in answer.json()["errors"]}


# ---- fields ------------------------------------------------------------------------------------------------


def test_the_answer(site: Site) -> None:
    """201 with the account as it may be read; nobody keeps a copy of it."""
    answer = site.register("ann", age=30)
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert body.pop("user").items() >= {"username": "ann", "email": "ann@example.com", "age": 30}.items()
    assert body == {"message": "Account created", "status": "active"}
    assert "password" not in answer.text


@pytest.mark.parametrize(
    ("fields", "errors"),
    [
        ({"username": None}, {("/username", "string_type")}),
        ({"username": "x" * 81}, {("/username", "name_too_long")}),
        ({"email": "no address"}, {("/email", "email")}),
        ({"age": "30"}, {("/age", "int_type")}),
        ({"age": 2**31}, {("/age", "less_than_equal")}),
        ({"sponsor_id": 999}, {("/sponsor_id", "invalid_reference")}),
        ({"hashed_password": "x"}, {("/hashed_password", "unknown_field")}),
        ({"id": 1}, {("/id", "unknown_field")}),
        ({"password": None}, {("/password", "string_type")}),
        ({"password": "short"}, {("/password", "password_too_short")}),
        ({"password": "e\u0301" * 4}, {("/password", "password_too_short")}),
        ({"password": "x" * 73}, {("/password", "password_too_long")}),
        ({"password": "\u00e9" * 37}, {("/password", "password_too_long")}),
        ({"password": "x" * 900_000}, {("/password", "password_too_long")}),
    ],
)
def test_fields_are_validated_by_the_model(site: Site, fields: dict[str, Any], errors: Any) -> None:
    """Limits of the columns, of the password, and references hold; every refusal names its field."""
    assert errors_of(site.register("somebody", **fields)) == errors


def test_the_longest_passwords(site: Site) -> None:
    """72 bytes are a password, of any letters, and the login knows them."""
    for name, password in (("seventy", "x" * 72), ("accent", "\u00e9" * 36), ("emoji", "\U0001f600" * 18)):
        assert site.register(name, password=password).status_code == 201
        assert site.login(name, password).status_code == 200
        assert site.login(name, password[:-1]).status_code == 401


@pytest.mark.parametrize(
    ("field", "equal", "other"),
    [
        ("is_admin", False, True),
        ("is_admin", False, 0),
        ("is_admin", False, None),
        ("is_admin", False, "false"),
        ("role", "member", "admin"),
        ("role", "member", ["member"]),
        ("is_active", True, False),
        ("is_active", True, 1),
    ],
)
def test_nobody_gives_rights_to_oneself(site: Site, field: str, equal: Any, other: Any) -> None:
    """Flags and roles may be sent with the value that they will have anyway, and with no other."""
    refused = site.register("pretender", **{field: other})
    assert errors_of(refused) == {(f"/{field}", "read_only_field")}
    assert refused.json()["code"] == "read_only_field"
    name = f"modest{uuid.uuid4().hex}"
    assert site.register(name, **{field: equal}).status_code == 201


def test_bodies_that_are_too_large(site: Site) -> None:
    """More than a megabyte is refused before it is read."""
    assert site.register("big", password="x" * 1_100_000).status_code == 413


@pytest.mark.parametrize(
    ("raw", "field", "status", "code"),
    [
        (b'"\\u0000"', "password", 400, "bad_request"),
        (b'"\\u0000"', "username", 422, "validation"),
        (b'"\\ud800"', "password", 400, "bad_json"),
        (b'"\\ud800"', "username", 400, "bad_json"),
        (b'"\xff"', "email", 400, "bad_json"),
    ],
)
def test_text_that_is_none(site: Site, raw: bytes, field: str, status: int, code: str) -> None:
    """NUL, half surrogate pairs and bytes that are not UTF-8 are refused in every field."""
    body = {"username": "zoe", "email": "zoe@example.com", "password": PASSWORD} | {field: "@@"}
    content = json.dumps(body).encode().replace(b'"@@"', raw)
    answer = site.client.post("/register", content=content, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (status, code)


# ---- names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("  Maria ", "maria"),
        ("\uff2d\uff41\uff52\uff49\uff41 wide", "maria wide"),
        ("Stra\u00dfe", "strasse"),
        ("e\u0301mile", "\u00e9mile"),
        ("two \u00a0 spaces", "two spaces"),
        ("\u0130stanbul", "i\u0307stanbul"),
        ("\u674e\u5c0f\u9f99bruce", "\u674e\u5c0f\u9f99bruce"),
        ("\u0410\u043d\u043d\u0430", "\u0430\u043d\u043d\u0430"),
        ("O\u02bcBrien 3rd-x_y.z", "o\u02bcbrien 3rd-x_y.z"),
    ],
)
def test_a_name_is_kept_in_one_form(site: Site, typed: str, kept: str) -> None:
    """NFKC, case-folded, single spaces: what is kept is what is compared."""
    email = f"Name{uuid.uuid4().hex}@Example.com"
    answer = site.register(typed, email=email)
    assert answer.json()["user"]["username"] == kept
    assert answer.json()["user"]["email"] == email.lower()
    assert site.register(f"  {typed.swapcase()}", email="another@example.com").status_code == 409
    assert site.login(typed).status_code == 200


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("", "name_empty"),
        ("  \u3000 ", "name_empty"),
        ("ad\u200bmin", "name_characters"),
        ("ad\u00admin", "name_characters"),
        ("adm\u202ein", "name_characters"),
        ("admin\ufe0f", "name_characters"),
        ("ad\u3164min", "name_characters"),
        ("ad\u2800min", "name_characters"),
        ("a\nb", "name_characters"),
        ("a\x1bb", "name_characters"),
        ("a\ue000b", "name_characters"),
        ("\u0430dmin", "name_scripts"),
        ("adm\u0131n\u03bf", "name_scripts"),
        ("\U0001d41a\u0434min", "name_scripts"),
        ("admi\u0578", "name_scripts"),
        (LETTER * 10, "name_too_long"),
    ],
)
def test_names_that_imitate(site: Site, name: str, code: str) -> None:
    """Invisible characters, mixtures of scripts that look alike, and names that grow are refused."""
    assert errors_of(site.register(name, email="imitator@example.com")) == {("/username", code)}


def test_a_name_is_not_normalised_before_its_length_is_known() -> None:
    """What is longer than any name may be is left as it is: normalising it would take long."""
    endless = "e\u0301" * 100_000
    assert canonical_or_typed(endless) is endless
    assert canonical_or_typed(" Ab ") == "ab"


def test_objects_hold_canonical_names() -> None:
    """Accounts that the application makes itself are kept in the same form."""
    user = User(username="  WALT ", email="Walt@Example.COM")
    assert (user.username, user.email) == ("walt", "walt@example.com")
    nameless: dict[str, Any] = {"username": None}
    assert User(**nameless).username is None
    with pytest.raises(ValueError, match="invisible"):
        User(username="w\u200balt")


def test_canonical_is_stable() -> None:
    """The canonical form of a canonical form is itself."""
    for name in ("Stra\u00dfe", "\u0130stanbul", "\ufb01n", "\u1e9e", "\u03a3\u03c3\u03c2"):
        assert canonical(canonical(name)) == canonical(name)


# ---- taken -------------------------------------------------------------------------------------------------


def test_a_taken_name_is_told(database_url: str) -> None:
    """409 `already_exists` names the field that is taken, on every database."""
    app = new_app(database_url)
    auth = AuthRouter(User)
    auth.register_routes(app)
    with serving(app, auth) as site:
        assert site.register("ann").status_code == 201
        for body, field in (
            ({"name": "Ann", "email": "new@example.com"}, "username"),
            ({"name": "new", "email": "ANN@example.com"}, "email"),
        ):
            answer = site.register(**body)
            assert (answer.status_code, answer.json()["code"]) == (409, "already_exists")
            assert [entry["pointer"] for entry in answer.json()["errors"]] == [f"/{field}"]
            assert field in answer.json()["detail"]
            assert "ann" not in answer.text.lower()


def test_of_two_registrations_one_wins(database_url: str) -> None:
    """Of eight registrations of one name at once exactly one is 201; the others are 409."""
    app = new_app(database_url)
    auth = AuthRouter(User)
    auth.register_routes(app)

    async def eight() -> Counter[int]:
        bodies = [
            {"username": f"A{'n' * 3}", "email": f"ann{turn}@example.com", "password": PASSWORD}
            for turn in range(8)
        ]
        answers = await asyncio.gather(
            *(call(app, "POST", "/register", body, address=None) for body in bodies)
        )
        return Counter(answer.status for answer in answers)

    with serving(app, auth) as site:
        assert site.run(eight) == {201: 1, 409: 7}


async def test_a_session_of_another_database(sqlite_url: str, postgresql_url: str) -> None:
    """What a session of a server that the application does not use refuses is told as it is."""
    app = new_app(postgresql_url)
    auth = AuthRouter(User)
    auth.register_routes(app)
    other = Database(sqlite_url)
    await other.create_tables(User.metadata)
    async with other.sessions() as session:
        values = {"username": "ann", "email": "ann@example.com"}
        await auth.accounts.register(session, values, PASSWORD)
        with pytest.raises(IntegrityError):
            await auth.accounts.register(session, {**values, "email": "other@example.com"}, PASSWORD)
    await other.close()


def test_common_passwords_may_be_forbidden_everywhere(sqlite_url: str) -> None:
    """`forbid_common` does in every mode what production does by itself."""
    app = new_app(sqlite_url)
    auth = AuthRouter(User, password=PasswordPolicy(forbid_common=True, min_length=10))
    auth.register_routes(app)
    with serving(app, auth) as site:
        assert errors_of(site.register("ann", password="password123")) == {("/password", "password_common")}
        assert errors_of(site.register("ann", password="xkw93-pl")) == {("/password", "password_too_short")}
        assert site.register("ann").status_code == 201


# ---- other models ------------------------------------------------------------------------------------------


def serve(url: str, model: Any, *others: Any, **options: Any) -> Any:
    """An application of this user model, which is also under a CrudRouter, as are the others."""
    app = Jetio(database=url, settings=SETTINGS, metadata=model.metadata)
    auth = AuthRouter(model, **options)
    auth.register_routes(app)
    auth.register_admin_routes(app)
    CrudRouter(model).register_routes(app)
    for other in others:
        CrudRouter(other).register_routes(app)
    return serving(app, auth)


def test_uuid_keys(database_url: str) -> None:
    """A user model may have a UUID key: tokens, /me and the admin routes work with it."""
    base: Any = new_base()

    class Member(base, JetioAuthMixin):
        id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
        email: Mapped[str] = mapped_column(unique=True)

    with serve(database_url, Member) as site:
        answer = site.client.post("/register", json={"email": "Ann@Example.com", "password": PASSWORD})
        key = answer.json()["user"]["id"]
        assert str(uuid.UUID(key)) == key
        token = site.login("ann@example.com").json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        assert site.client.get("/me", headers=headers).json()["id"] == key
        site.run(site.auth.ensure_admin, email="root@example.com", password=PASSWORD)
        root = {"Authorization": f"Bearer {site.login('root@example.com').json()['access_token']}"}
        promoted = site.client.post(f"/admin/{key}/make-admin", headers=root)
        assert promoted.json()["user_id"] == key
        assert site.client.post("/admin/7/make-admin", headers=root).status_code == 404
        assert site.client.delete(f"/members/{key}", headers=headers).status_code == 204
        assert site.client.get("/me", headers=headers).status_code == 401


def test_the_name_as_key(database_url: str) -> None:
    """The login name itself may be the key."""
    base: Any = new_base()

    class Member(base, JetioAuthMixin):
        username: Mapped[str] = mapped_column(String(60), primary_key=True)

    with serve(database_url, Member) as site:
        body = {"username": "Ann O'Hara", "password": PASSWORD}
        assert site.client.post("/register", json=body).json()["user"] == {"username": "ann o'hara"}
        taken = site.client.post("/register", json=body)
        assert (taken.status_code, taken.json()["errors"][0]["pointer"]) == (409, "/username")
        token = site.login("ANN O'HARA").json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        assert site.client.get("/me", headers=headers).json()["username"] == "ann o'hara"
        site.run(site.auth.ensure_admin, username="root", password=PASSWORD)
        root = {"Authorization": f"Bearer {site.login('root').json()['access_token']}"}
        assert site.client.post("/admin/ann%20o'hara/make-admin", headers=root).status_code == 200


def test_other_login_fields_and_unique_columns(sqlite_url: str) -> None:
    """login_fields may name any unique column; a taken value of another unique column is told as well."""
    base: Any = new_base()

    class Member(base, JetioAuthMixin):
        nick: Mapped[str] = mapped_column(String(30))
        username: Mapped[str]
        card: Mapped[int | None] = mapped_column(unique=True)
        copy: Mapped[str] = mapped_column(default="")
        __table_args__ = (UniqueConstraint("nick"),)

    with serve(sqlite_url, Member, login_fields=["nick"]) as site:
        body = {"nick": "Zed", "username": "Mr Z", "card": 7, "copy": "kept", "password": PASSWORD}
        user = site.client.post("/register", json=body).json()["user"]
        assert user == {"id": 1, "nick": "zed", "username": "Mr Z", "card": 7, "copy": "kept"}
        assert site.login("ZED").status_code == 200
        assert site.login("Mr Z").status_code == 401
        taken = site.client.post("/register", json={**body, "nick": "other"})
        assert [entry["pointer"] for entry in taken.json()["errors"]] == ["/card"]
        email = site.client.post("/login", json={"email": "zed", "password": PASSWORD})
        assert email.status_code == 401


def test_references_of_a_registration(sqlite_url: str) -> None:
    """A registration may name another table's row; one that is not there is a 422, as in CRUD."""
    base: Any = new_base()

    class Team(base):
        name: Mapped[str]

    class Member(base, JetioAuthMixin):
        username: Mapped[str] = mapped_column(unique=True)
        coach_id: Mapped[int | None] = mapped_column(ForeignKey("members.id"))
        friend_id: Mapped[int | None] = mapped_column(ForeignKey("members.id"))
        team_id: Mapped[int] = mapped_column(ForeignKey("teams.id"))

    with serve(sqlite_url, Member, Team) as site:
        assert site.client.post("/teams", json={"name": "one"}).status_code == 201
        first = {"username": "bob", "password": PASSWORD, "team_id": 1}
        assert site.client.post("/register", json=first).status_code == 201
        body = {"username": "ann", "password": PASSWORD}
        assert errors_of(site.client.post("/register", json=body)) == {("/team_id", "missing")}
        for field in ("team_id", "friend_id"):
            sent = {**body, "coach_id": 1, "team_id": 1, field: 3}
            refused = site.client.post("/register", json=sent)
            assert errors_of(refused) == {(f"/{field}", "invalid_reference")}
