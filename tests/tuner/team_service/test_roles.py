"""Check permissions: every route, for every role, on the user's own study, another user's, and one without an owner."""

import pytest

from tests.support.team_service import SPACE, USERS
from tuner.study_queue.entries import State

READING = (
    "/api/v1/studies/{name}", "/api/v1/studies/{name}/best", "/api/v1/studies/{name}/params.yaml",
    "/api/v1/studies/{name}/report", "/api/v1/studies/{name}/events", "/studies/{name}",
)  # fmt: skip
"""Routes that show one study."""
COMPARING = ("/api/v1/compare", "/compare/report")
LISTING = ("/api/v1/studies", "/", "/compare")
OPEN = ("/healthz", "/login", "/assets/{name}", "/api/v1/openapi.json")
"""Routes that need no login."""
SUBMITTING = ("/submit", "/api/v1/spaces/check")
CHANGING = ("/api/v1/studies/{name}/stop", "/studies/{name}/stop")
OTHERS = ("/api/v1/me", "/logout")
DASHBOARD = ("/dashboard", "/dashboard/{rest:path}", "/api/{rest:path}", "/csv/{rest:path}", "/static/{rest:path}",
             "/artifacts/{rest:path}", "/favicon.ico")  # fmt: skip


def paths_of(router, prefix=""):
    """Return all paths of an application, including those of its routers."""
    for route in router.routes:
        if hasattr(route, "path"):
            yield prefix + route.path
        elif hasattr(route, "original_router"):
            inner = route.original_router
            yield from paths_of(inner)


def test_every_route_is_in_one_of_the_lists(team):
    from tuner.team_service.app import application

    listed = {*READING, *COMPARING, *LISTING, *OPEN, *SUBMITTING, *CHANGING, *OTHERS, *DASHBOARD}
    assert set(paths_of(application(team.service))) == listed


@pytest.mark.parametrize("path", [*READING, *COMPARING, *LISTING, *SUBMITTING, *OTHERS, *DASHBOARD])
@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic YTpi", "Bearer"])
def test_without_a_valid_token_nothing_is_shown(team, path, header):
    team.service.guard._failures._buckets.clear()
    with team.client() as client:
        place = path.replace("{name}", "bobs").replace("{rest:path}", "studies")
        answer = client.get(
            place, params={"study": ["bobs", "cats"]}, headers={"Authorization": header} if header else {}
        )
    assert answer.status_code in (401, 303, 405)
    if answer.status_code == 303:
        assert answer.headers["location"].startswith("/login")
    assert "bobs" not in answer.text.replace("next=%2Fstudies%2Fbobs", "")


@pytest.mark.parametrize("path", OPEN)
def test_routes_without_a_login_show_no_study(team, path):
    with team.client() as client:
        answer = client.get(path.replace("{name}", "page.css"))
    assert answer.status_code == 200
    assert "bobs" not in answer.text


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("path", READING)
def test_everybody_sees_every_study(team, user, path):
    with team.client(user) as client:
        codes = [client.get(path.format(name=name)).status_code for name in ("bobs", "cats", "nobodys", "missing")]
    assert codes == [200, 200, 200, 404]


@pytest.mark.parametrize("user", USERS)
def test_everybody_may_list_and_compare(team, user):
    with team.client(user) as client:
        names = [row["name"] for row in client.get("/api/v1/studies").json()["studies"]]
        assert names == ["bobs", "cats", "nobodys"]
        assert all(name in client.get("/").text for name in names)
        for path in COMPARING:
            assert client.get(path, params={"study": ["bobs", "cats"]}).status_code == 200
        assert client.get("/api/v1/me").json() == {"name": user, "role": USERS[user].value}


VISIBLE = {"ann": [200, 200, 200], "bob": [200, 404, 404], "cat": [404, 200, 404], "eve": [404, 404, 404]}


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("path", READING)
def test_in_private_mode_a_study_of_another_user_appears_not_to_exist(private_team, user, path):
    with private_team.client(user) as client:
        answers = [client.get(path.format(name=name)) for name in ("bobs", "cats", "nobodys")]
        missing = client.get(path.format(name="missing"))
    assert [answer.status_code for answer in answers] == VISIBLE[user]
    assert {answer.text for answer in answers if answer.status_code == 404} <= {missing.text}


@pytest.mark.parametrize("user", USERS)
def test_in_private_mode_lists_and_comparisons_hold_only_what_the_user_may_see(private_team, user):
    seen = [name for name, code in zip(("bobs", "cats", "nobodys"), VISIBLE[user], strict=True) if code == 200]
    with private_team.client(user) as client:
        assert [row["name"] for row in client.get("/api/v1/studies").json()["studies"]] == seen
        assert [name for name in ("bobs", "cats", "nobodys") if name in client.get("/").text] == seen
        choices = client.get("/compare").text
        assert not any(name in choices for name in ("bobs", "cats", "nobodys") if name not in seen)
        for path in COMPARING:
            code = client.get(path, params={"study": ["bobs", "cats"]}).status_code
            assert code == (200 if user == "ann" else 404)


@pytest.mark.parametrize("path", ["/dashboard", "/api/studies", "/api/meta", "/static/bundle.js"])
def test_the_dashboard_shows_all_studies_so_in_private_mode_it_is_for_administrators(team, private_team, path):
    for user in USERS:
        with team.client(user) as client, private_team.client(user) as private:
            assert client.get(path).status_code == 200
            assert private.get(path).status_code == (200 if user == "ann" else 404)


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
def test_requests_outside_the_interface_do_not_reach_the_dashboard(team, method):
    with team.client("ann") as client:
        answer = client.request(method, "/api/v1/nothing")
        assert (answer.status_code, answer.json()["error"]) == (404, "There is no such page.")


def test_the_dashboard_changes_nothing_for_anybody(team):
    with team.client("ann") as client:
        number = client.get("/api/studies").json()["study_summaries"][0]["study_id"]
        note = {"version": 1, "body": "text"}
        assert client.put(f"/api/studies/{number}/note", json=note).status_code == 403
        assert client.delete(f"/api/studies/{number}").status_code == 403
        assert client.post("/api/studies", json={"study_name": "x", "directions": ["minimize"]}).status_code == 403


def body(name, **more):
    return {"study": name, "space": SPACE, "data": "sample", **more}


@pytest.mark.parametrize(("user", "code"), [("ann", 201), ("bob", 201), ("eve", 403)])
def test_submitting_needs_its_role_and_the_owner_is_the_user(team, user, code):
    with team.client(user) as client:
        answer = client.post("/api/v1/studies", json=body(f"new-of-{user}"))
        assert client.post("/api/v1/spaces/check", json={"space": SPACE}).status_code == (200 if code == 201 else 403)
        assert client.get("/submit").status_code == (200 if code == 201 else 403)
        assert answer.status_code == code
        if code == 201:
            assert answer.json()["owner"] == user
            assert client.post(f"/api/v1/studies/new-of-{user}/stop").json()["state"] == "stopped"
    team.service.studies.forget_entries()


STOPPING = {"ann": (200, 200), "bob": (200, 403), "eve": (403, 403)}


@pytest.mark.parametrize("user", STOPPING)
@pytest.mark.parametrize("is_page", [False, True])
def test_users_stop_their_own_studies_and_administrators_all(empty_team, user, is_page):
    for study, owner in (("own", "bob"), ("other", "cat")):
        empty_team.submitted(study, owner)
    codes = []
    with empty_team.client(user) as client:
        for study in ("own", "other"):
            path = f"/studies/{study}/stop" if is_page else f"/api/v1/studies/{study}/stop"
            answer = client.post(path, data={"csrf": ""}) if is_page else client.post(path)
            codes.append(200 if answer.status_code == 303 else answer.status_code)
    assert tuple(codes) == STOPPING[user]


def test_in_private_mode_nobody_learns_of_a_study_by_trying_to_stop_it(private_team):
    with private_team.client("cat") as client:
        answers = [client.post(f"/api/v1/studies/{name}/stop") for name in ("bobs", "missing")]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].text == answers[1].text


def test_a_study_name_of_another_user_cannot_be_submitted_again_to_resume_it_or_read_its_results(private_team):
    with private_team.client("cat") as client:
        for name in ("bobs", "nobodys"):
            answer = client.post("/api/v1/studies", json=body(name))
            assert answer.status_code == 409
            assert "bob" not in answer.text


def test_a_study_keeps_its_first_owner_when_an_administrator_resumes_it(empty_team):
    empty_team.submitted("mine", "bob", State.STOPPED)
    with empty_team.client("ann") as client:
        assert client.post("/api/v1/studies", json=body("mine")).status_code == 201
        assert client.get("/api/v1/studies/mine").json()["owner"] == "bob"
