"""The admin panel: the same rows, fields, rules and hooks as the REST routes."""

from __future__ import annotations

import datetime as dt
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text, update
from starlette.testclient import TestClient

from jetio import CrudRouter, Problem
from jetio.contrib.admin import Admin
from tests.contrib.magazine import (
    Article,
    Desk,
    Key,
    Mood,
    Seat,
    Section,
    errors_of,
    magazine,
    new_app,
    new_auth,
    words,
)

MOMENT = dt.datetime(2026, 1, 2, 10, 11, tzinfo=dt.UTC)


@pytest.fixture
def desk(sqlite_url: str) -> Iterator[Desk]:
    with magazine(sqlite_url) as found:
        assert found.sign_in("root").headers["location"] == "/admin/"
        yield found


def test_lists_obey_rule_search_and_order(database_url: str) -> None:
    """A row that the rule hides is in no list, under no search and in no count; NULL comes last in both orders."""
    with magazine(database_url) as desk:
        desk.sign_in("root")
        desk.add(
            Article(title="Alpha 100%", stars=2, note="needle"),
            Article(title="Beta", body="Needlework"),
            Article(title="Gamma", stars=5),
            Article(title="Needle in the attic", stars=3, shelved=True),
        )
        assert " of 3 " in desk.page("/articles/list")
        assert "attic" not in desk.page("/articles/list")
        found = desk.page("/articles/list?q=NEEDLE")
        assert "Beta" in found
        assert " of 1 " in found
        assert "Alpha 100%" in desk.page("/articles/list?q=100%25")
        assert "Beta" not in desk.page("/articles/list?q=100%25")
        assert "Gamma" in desk.page("/articles/list?q=3")  # by its key
        rising = desk.page("/articles/list?sort=stars__asc")
        assert rising.index("Alpha") < rising.index("Gamma") < rising.index("Beta")
        falling = desk.page("/articles/list?sort=stars__desc&page_size=10")
        assert falling.index("Gamma") < falling.index("Alpha") < falling.index("Beta")
        found = desk.client.get("/admin/_api/articles/relation-lookup?pks=1&pks=3&pks=4&pks=x").json()
        assert sorted(item["_key"] for item in found["items"]) == ["1", "3"]
        assert desk.client.get("/admin/articles/detail?pk=4").status_code == 404
        assert "Articles 3" in desk.page("/")


def test_a_field_that_the_api_hides_is_nowhere(desk: Desk) -> None:
    """Hidden columns and hashes are on no page; a sort by one is not done; what is only written is never shown."""
    desk.add(Article(title="Alpha", note="between us", door_pin="8812"))
    for path in ("/articles/list", "/articles/detail?pk=1", "/articles/edit?pk=1", "/articles/create"):
        page = desk.client.get(f"/admin{path}").text
        assert "between us" not in page
        assert "8812" not in page
        assert 'name="note"' not in page
    assert 'type="password"' in desk.client.get("/admin/articles/edit?pk=1").text
    assert desk.client.get("/admin/articles/list?sort=note__asc").status_code == 200
    for path in ("/users/list", "/users/detail?pk=1", "/users/edit?pk=1"):
        page = desk.client.get(f"/admin{path}").text
        assert "hashed_password" not in page
        assert "$2b$" not in page


def test_a_row_is_created_changed_and_deleted(desk: Desk) -> None:
    """Each kind of input becomes its value; the hooks of the router see the change, the owner is the caller."""
    answer = desk.send(
        "/articles/create",
        title="First <i>news</i>", body="one\r\ntwo", mood="loud", stars="4", price="12.50",
        at="2026-01-02T10:11", extra='{"a": [1]}', door_pin="", weight="1e3",
    )  # fmt: skip
    assert answer.status_code == 303, errors_of(answer.text)
    row = desk.client.get("/articles/1").json()
    assert row == {
        "id": 1, "title": "First <i>news</i>", "body": "one\ntwo", "mood": "loud", "stars": 4, "price": "12.50",
        "weight": 1000.0,
        "at": "2026-01-02T10:11:00Z", "extra": {"a": [1]}, "shelved": False, "section_id": None, "author_id": 1,
    }  # fmt: skip
    shown = desk.client.get("/admin/articles/detail?pk=1").text
    assert "First &lt;i&gt;news&lt;/i&gt;" in shown
    assert "<i>news" not in shown

    same = {
        "title": "First <i>news</i>",
        "body": "one\r\ntwo",
        "mood": "loud",
        "price": "12.50",
        "weight": "1000.0",
    }
    same |= {"at": "2026-01-02T10:11", "extra": '{\r\n  "a": [\r\n    1\r\n  ]\r\n}', "section_id": ""}
    assert desk.send("/articles/edit?pk=1", **same, stars="", door_pin="7").status_code == 303
    assert desk.seen[-1] == ("update", {"stars": None, "door_pin": "7"})
    assert desk.send("/articles/edit?pk=1", **same, stars="", door_pin="").status_code == 303
    assert desk.seen[-1] == ("update", {})

    assert desk.delete("articles", "1").json() == {"redirect": "/admin/articles/list"}
    assert desk.client.get("/articles/1").status_code == 404
    assert desk.delete("articles", "1").status_code == 400


def test_what_is_refused_stands_beside_its_field(desk: Desk) -> None:
    """The schema's words beside the inputs, everything else above the form; nothing is written or lost."""
    answer = desk.send("/articles/create", title="x", stars="many", price="1.234", mood="angry", body="kept")
    assert answer.status_code == 422
    assert set(errors_of(answer.text)) == {"title", "stars", "price", "mood"}
    assert errors_of(answer.text)["title"] == "String should have at least 3 characters"
    assert "kept" in answer.text
    answer = desk.send("/articles/create", title="Long enough", extra="{not json")
    assert errors_of(answer.text) == {"extra": "This is not JSON"}
    for broken in ("NaN", '{"a": 1e999}', "[" * 100_000, '"\\ud800"', '{"\\udfff": 1}'):
        answer = desk.send("/articles/create", title="Long enough", extra=broken)
        assert errors_of(answer.text) == {"extra": "This is not JSON"}
    for broken in ("NaN", "1e999", "[1]", "true", "two"):
        answer = desk.send("/articles/create", title="Long enough", price=broken, weight=broken)
        assert set(errors_of(answer.text)) == {"price", "weight"}, broken
    answer = desk.send("/articles/create", title="Forbidden")
    assert answer.status_code == 422
    assert "This word is taken" in words(answer.text)
    answer = desk.send("/articles/create", title="Too good", stars="9")
    assert answer.status_code == 422
    assert "outside of what you may write" in words(answer.text)
    assert desk.client.get("/articles").json() == []
    desk.add(Section(name="Sports"))
    answer = desk.send("/sections/create", name="Sports", open="on")
    assert list(errors_of(answer.text)) == ["name"]


def test_a_refused_form_does_not_repeat_what_is_never_shown(desk: Desk) -> None:
    """A secret is on no page, that of the person who typed it included; the form asks for it once more."""
    desk.add(Article(title="Alpha", body="old"))
    told = {"door_pin": "This is not shown again; type it once more"}
    for path in ("/articles/create", "/articles/edit?pk=1"):
        answer = desk.send(path, title="x", body="kept", door_pin="wormwood")
        assert answer.status_code == 422
        assert set(errors_of(answer.text)) == {"title", "door_pin"}
        assert told.items() <= errors_of(answer.text).items()
        assert "kept" in answer.text
        assert "wormwood" not in answer.text
    refused = desk.send("/articles/create", title="Forbidden", door_pin="wormwood")
    assert errors_of(refused.text) == told
    assert "wormwood" not in refused.text


def test_search_does_not_look_into_secrets(sqlite_url: str) -> None:
    """A column that the API shows and the panel does not, is found by no search and sorts no list."""
    app = new_app(sqlite_url)
    auth = new_auth(app)
    CrudRouter(Key, policy={"*": auth.admin_only()}).register_routes(app)
    Admin(app, auth=auth)
    with TestClient(app, base_url="http://desk.example") as client:
        desk = Desk(app, auth, client)
        desk.account("root", admin=True)
        desk.sign_in("root")
        desk.add(Key(label="Front", api_token="wormwood"), Key(label="Back", api_token="absinth"))
        assert {row["api_token"] for row in client.get("/keys").json()} == {"wormwood", "absinth"}
        assert "No data" in desk.page("/keys/list?q=wormwood")
        assert client.get("/admin/_api/keys/relation-lookup?q=worm").json()["total"] == 0
        assert "Front" in desk.page("/keys/list?q=front")
        sorted_list = desk.page("/keys/list?sort=api_token__asc")
        assert sorted_list.index("Front") < sorted_list.index("Back")


def test_letters_of_a_strange_charset_are_text(desk: Desk) -> None:
    """A form may name its charset: what that makes of the bytes is kept as text or refused, and breaks nothing."""
    token = {"X-CSRFToken": desk.token()}
    part = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    for charset in ("unicode_escape", "utf-16", "utf-7", "rot13", "nothing"):
        body = part % (b"title", rb"Half \ud800 letter") + part % (b"body", b"x") + b"--x--"
        media = {"content-type": f"multipart/form-data; boundary=x; charset={charset}"}
        answer = desk.client.post("/admin/articles/create", content=body, headers=token | media)
        assert answer.status_code < 500, charset


def test_a_relation_shows_visible_rows_only(desk: Desk) -> None:
    """A foreign key is shown by its row's title; of a row that the caller may not see by its key, which stays."""
    desk.add(Section(name="Sports"), Section(name="Vault", open=False))
    desk.add(Article(title="Alpha", section_id=1), Article(title="Beta", section_id=2))
    shown = desk.page("/articles/list")
    assert "Sports" in shown
    assert "#2" in shown
    assert "Vault" not in shown
    assert "/admin/sections/detail?pk=2" not in desk.client.get("/admin/articles/detail?pk=2").text
    found = desk.client.get("/admin/_api/sections/relation-lookup").json()
    assert [item["_meta"]["repr"] for item in found["items"]] == ["Sports"]
    form = desk.client.get("/admin/articles/edit?pk=2").text
    assert '<option value="2" selected>' in form
    assert desk.send("/articles/edit?pk=2", title="Beta two", body="", section_id="2").status_code == 303
    assert desk.seen[-1] == ("update", {"title": "Beta two"})
    answer = desk.send("/articles/edit?pk=1", title="Alpha", body="", section_id="2")
    assert list(errors_of(answer.text)) == ["section_id"]


def test_pages_offer_what_the_router_has(desk: Desk) -> None:
    """Without a route or the right to it there is no button and no page; keys of several parts have addresses."""
    desk.add(Seat(line="A/1, left", number=7))
    listed = desk.client.get("/admin/seats/list").text
    assert "/admin/seats/create" not in listed
    assert 'data-sa-name="delete"' not in listed
    assert desk.client.get("/admin/seats/create").status_code == 403
    assert desk.delete("seats", "A,7").status_code == 400
    key = "A%252F1%252C%2520left%2C7"
    assert f"/admin/seats/detail?pk={key}" in listed
    assert desk.send(f"/seats/edit?pk={key}", holder="Ann").status_code == 303
    assert "Ann" in desk.page(f"/seats/detail?pk={key}")
    for path in ("import", "inline-edit?pk=1&field=holder"):
        answer = desk.client.post(f"/admin/_api/seats/{path}", headers={"X-CSRFToken": desk.token()})
        assert answer.status_code == 403


def test_several_rows_are_deleted_one_by_one(desk: Desk) -> None:
    """Rows that are ticked go through the rule one after the other."""
    desk.add(*(Article(title=f"Number {number}") for number in range(3)))
    token = {"X-CSRFToken": desk.token()}
    answer = desk.client.post("/admin/_api/articles/action?name=delete&pks=1&pks=3", headers=token)
    assert answer.status_code == 200
    assert [row["id"] for row in desk.client.get("/articles").json()] == [2]
    answer = desk.client.post("/admin/_api/articles/action?name=delete&pks=2&pks=9", headers=token)
    assert answer.json() == {"msg": "1 deleted; then: There is nothing here"}
    assert desk.client.post("/admin/_api/articles/action?name=export", headers=token).status_code == 400


def test_two_people_at_one_row_undo_nothing(desk: Desk) -> None:
    """A form sends what its person changed since it was opened; what others changed stays, and is told."""
    desk.add(Article(title="Alpha", body="old\r\nlines", stars=1, at=MOMENT))
    form = {"title": "Alpha", "body": "old\r\nlines", "stars": "1", "at": "2026-01-02T10:11"}
    mine = form | desk.opened("/articles/edit?pk=1")
    assert desk.send("/articles/edit?pk=1", **form | {"title": "Beta"}).status_code == 303
    assert desk.send("/articles/edit?pk=1", **mine | {"stars": "2"}).status_code == 303
    assert desk.seen[-1] == ("update", {"stars": 2})
    row = desk.client.get("/articles/1").json()
    assert (row["title"], row["stars"], row["body"]) == ("Beta", 2, "old\r\nlines")
    assert "Meanwhile somebody else changed: Title" in words(desk.client.get("/admin/articles/list").text)


def test_two_people_at_one_field_are_told(desk: Desk) -> None:
    """The later form is 422 with the other value beside the field; sent once more, it replaces that alone."""
    desk.add(Article(title="Alpha", body="old", door_pin="1"))
    form = {"title": "Alpha", "body": "old", "mood": "", "stars": "", "extra": ""}
    late = form | desk.opened("/articles/edit?pk=1") | {"title": "Mine"}
    assert desk.send("/articles/edit?pk=1", **form | {"title": "<b>Theirs", "body": "new"}).status_code == 303
    answer = desk.send("/articles/edit?pk=1", **late)
    assert answer.status_code == 422
    assert "<b>Theirs" not in answer.text
    told = {"title": "Somebody else has changed this meanwhile, to: <b>Theirs - save again to replace it"}
    assert errors_of(answer.text) == told
    assert desk.client.get("/articles/1").json()["title"] == "<b>Theirs"
    assert 'value="Mine"' in answer.text
    assert re.findall(r'name="body".*?>\s*(\w+)\s*</textarea>', answer.text, re.DOTALL) == ["new"]
    again = dict(re.findall(r'name="(_opened)" value="([^"]*)"', answer.text))
    assert desk.send("/articles/edit?pk=1", **late | again | {"body": "new"}).status_code == 303
    assert desk.seen[-1] == ("update", {"title": "Mine"})

    same = form | {"title": "Same", "body": "new"} | desk.opened("/articles/edit?pk=1")
    assert desk.send("/articles/edit?pk=1", **same).status_code == 303
    assert desk.send("/articles/edit?pk=1", **same).status_code == 303
    assert desk.seen[-1] == ("update", {})


@pytest.mark.parametrize("opened", ["", "nonsense", "title:", "other"])
def test_a_form_that_does_not_say_what_it_showed_changes_nothing(desk: Desk, opened: str) -> None:
    """Without its marks a form is 409; with those of another row it meets the row as one that others changed."""
    desk.add(Article(title="Alpha", body="old"), Article(title="Alpha", body="old"))
    marks = desk.opened("/articles/edit?pk=2")["_opened"] if opened == "other" else opened
    answer = desk.send("/articles/edit?pk=1", title="Beta", body="old", _opened=marks)
    assert answer.status_code == (422 if opened == "other" else 409)
    assert desk.client.get("/articles/1").json()["title"] == "Alpha"
    assert not any(action == "update" for action, _ in desk.seen)


def test_all_rows_that_match_are_deleted(desk: Desk) -> None:
    """`Select all` means what the search finds and the rule shows, not the page; too many are refused as a whole."""
    desk.add(
        *(Article(title=f"Number {number}", body="odd" if number % 2 else "even") for number in range(60))
    )
    desk.add(Article(title="Hidden", body="odd", shelved=True))
    token = {"X-CSRFToken": desk.token()}
    address = "/admin/_api/articles/action?name=delete&all=1&_list_query=%3Fq%3D"
    assert desk.client.post(f"{address}odd", headers=token).status_code == 200
    assert "30 items were successfully deleted" in words(desk.client.get("/admin/articles/list").text)
    rows = desk.client.get("/articles?limit=100").json()
    assert [row["body"] for row in rows] == ["even"] * 30
    desk.write(update(Article).where(Article.shelved).values(shelved=False))
    assert len(desk.client.get("/articles?limit=100").json()) == 31

    desk.add(*(Article(title="Many") for number in range(1000)))
    answer = desk.client.post(f"{address}many", headers=token)
    assert answer.status_code == 200
    assert len(desk.client.get("/articles?limit=100").json()) == 31
    desk.add(*(Article(title="Many") for number in range(1001)))
    answer = desk.client.post(f"{address}many", headers=token)
    assert answer.status_code == 400
    assert "Too many rows" in answer.json()["msg"]


def test_a_lookup_of_many_keys_finds_them_all(desk: Desk) -> None:
    """However many rows an address names, all of them are there."""
    desk.add(*(Article(title="Many") for _ in range(450)))
    keys = "&".join(f"pks={number}" for number in range(1, 451))
    found = desk.client.get(f"/admin/_api/articles/relation-lookup?{keys}").json()
    assert sorted(int(item["_key"]) for item in found["items"]) == list(range(1, 451))


@pytest.mark.parametrize("query", ["", "?pks=1", "?name=", "?all=1"])
def test_an_address_without_an_action_does_nothing(desk: Desk, query: str) -> None:
    """It is 400."""
    desk.add(Article(title="Alpha"))
    answer = desk.client.post(f"/admin/_api/articles/action{query}", headers={"X-CSRFToken": desk.token()})
    assert (answer.status_code, answer.json()) == (400, {"msg": "The address names no action"})


ADDRESSES = (
    "/articles/list?page=99999999999999999999999",
    "/articles/list?page=-1&sort=__&sort=title__sideways&cols=,,",
    "/articles/list?filter=" + "(" * 3000,
    "/articles/list?q=%00%ff%22%27;--&page_size=25",
    "/_api/articles/relation-lookup?skip=99999999999999999999&limit=x&q=%00",
    "/_api/articles/relation-lookup?" + "&".join(f"pks={number}" for number in range(1000)),
    "/articles/detail?pk=%00",
    "/articles/detail?pk=%25%30%30",
    "/articles/detail?pk=9999999999999999999999999",
    "/seats/detail?pk=,,,,",
    "/seats/detail?pk=%00,1",
    "/articles/edit?pk=../users/1",
    "/nothing/list",
    "/_files/x/../../etc/passwd",
    "/static/../fields.py",
)


def test_no_address_breaks_the_panel(desk: Desk) -> None:
    """Whatever stands in an address of the panel, the answer is a page or a refusal."""
    answers = {path: desk.client.get(f"/admin{path}").status_code for path in ADDRESSES}
    assert {path[:60]: status for path, status in answers.items() if status not in (200, 400, 404)} == {}


def test_no_body_breaks_the_panel(desk: Desk) -> None:
    """A body that is no form is refused."""
    token = {"X-CSRFToken": desk.token()}
    for media in ("multipart/form-data; boundary=x", "multipart/form-data", "text/plain", ""):
        for body in (b"", b"--x", b"--x\r\nContent-Disposition: form-data\r\n\r\n\r\n--x--", b"\xff=%ff&a"):
            answer = desk.client.post(
                "/admin/articles/create", content=body, headers={**token, "content-type": media}
            )
            assert answer.status_code in (400, 422), (media, body)


def test_texts_that_no_row_can_hold_are_refused(desk: Desk) -> None:
    """NUL is told above the form; a form beyond the body limit is 413."""
    answer = desk.send("/articles/create", title="a\0bc")
    assert answer.status_code == 422
    assert "NUL" in words(answer.text)
    assert desk.send("/articles/create", title="Long", body="x" * 1_100_000).status_code == 413


def test_changes_are_written_down(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """Each change is an event with the table, the key and the names of the fields, never the values."""
    with caplog.at_level(logging.DEBUG):
        desk.send("/articles/create", title="Secret title", door_pin="4711")
        desk.send("/articles/edit?pk=1", title="Other title", body="")
        desk.delete("articles", "1")
    events = desk.client.get("/admin/auth-events").json()
    found = [event for event in events if event["name"].startswith("panel.")]
    assert [event["name"] for event in found] == ["panel.deleted", "panel.updated", "panel.created"]
    assert found[1]["detail"] == {"model": "articles", "key": "1", "fields": ["title"]}
    assert {event["user_id"] for event in found} == {"1"}
    told = [record.getMessage() for record in caplog.records]
    assert "panel.created articles 1 by 1" in told
    assert not any("4711" in line or "Secret title" in line for line in told)


def test_a_choice_is_shown_by_its_value(desk: Desk) -> None:
    """Enums are chosen from a list, and an edit keeps the one that was."""
    desk.add(Article(title="Alpha", mood=Mood.loud))
    form = desk.client.get("/admin/articles/edit?pk=1").text
    assert form.count("<option") >= 4
    assert "loud" in desk.page("/articles/list")
    assert desk.send("/articles/edit?pk=1", title="Alpha", body="", mood="").status_code == 303
    assert desk.client.get("/articles/1").json()["mood"] is None


def test_keys_and_columns_of_other_kinds(desk: Desk) -> None:
    """Keys that are no numbers, times, and types of the application's own."""
    key = "6f0c1c9e-1111-4222-8333-944455556666"
    assert desk.send("/slots/create", code="nonsense").status_code == 422
    assert desk.send("/slots/create", code=key, starts="09:30", word="loud").status_code == 303
    row = {"code": key, "starts": "09:30:00", "word": "LOUD", "place": None}
    assert desk.client.get("/slots").json() == [row]
    assert key in desk.page("/slots/list?sort=starts__desc")
    assert "No data" in desk.page("/slots/list?q=LOU")  # the database may know that type by other letters
    assert "No data" in desk.page("/slots/list?q=77")
    assert 'type="time"' in desk.client.get("/admin/slots/create").text
    assert 'value="09:30:00"' in desk.client.get(f"/admin/slots/edit?pk={key}").text
    assert desk.send(f"/slots/edit?pk={key}", code=key, starts="09:30", word="").status_code == 303
    assert desk.client.get(f"/slots/{key}").json() == {**row, "word": None}
    assert desk.client.get("/admin/_api/slots/relation-lookup?pks=x").json() == {"items": [], "total": 0}


def test_what_is_away_is_told_as_everywhere(desk: Desk) -> None:
    """A 503 of a hook or of the login is no page: it is the problem that the routes answer with."""
    answer = desk.send("/articles/create", title="Too much")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert desk.client.get("/admin/seats/detail?pk=Z,9").status_code == 503

    async def closed(account: Any, device: Any) -> None:
        raise Problem(503, "unavailable", "Not now")

    desk.send("/logout")
    desk.auth.logins.conditions.append(closed)
    answer = desk.sign_in("root")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


def test_a_change_lasts_though_its_event_is_lost(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """Where events cannot be stored the log says so, and the person goes on."""
    desk.write(text("DROP TABLE jetio_auth_users_events"))
    assert desk.send("/sections/create", name="Sports").status_code == 303
    assert desk.client.get("/admin/_api/sections/relation-lookup").json()["total"] == 0  # it is not open
    assert "panel.created was not written down" in [record.getMessage() for record in caplog.records]


def test_nothing_is_imported_before_it_is_used() -> None:
    """Neither the package nor its templates are read by an application that has no panel, or is not built."""
    code = "import sys, jetio, jetio.contrib.admin; print([m for m in sys.modules if m[:6] in ('starle', 'jinja2')])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "starlette_admin" not in found.stdout
    assert "jinja2" not in found.stdout
