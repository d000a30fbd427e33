"""Tokens and sessions: what is stored, and when they become invalid."""

import itertools

import pytest

from tuner.exceptions import UsageError
from tuner.team_service.accounts import opened_accounts
from tuner.team_service.sessions import SESSION_S, form_key, has_form_key
from tuner.team_service.tokens import digest_of
from tuner.team_service.users import Role, User


class Now:
    """A clock that is set."""

    def __init__(self) -> None:
        self.s = 1_000_000.0

    def __call__(self) -> float:
        return self.s


@pytest.fixture
def now():
    return Now()


@pytest.fixture
def file(tmp_path):
    return tmp_path / "queue.db"


@pytest.fixture
def accounts(file, now):
    with opened_accounts(f"sqlite:///{file}", now) as accounts:
        yield accounts


def test_a_token_lets_its_user_in_with_its_role(accounts):
    token = accounts.tokens.add("ann", Role.ADMIN)
    assert accounts.tokens.found(token).user == User(name="ann", role=Role.ADMIN)


def test_the_database_has_no_secret_only_a_salted_hash(accounts, file):
    secrets = [accounts.tokens.add(name, Role.READ).rpartition("_")[2] for name in ("ann", "bob")]
    cookie = accounts.sessions.open(1)
    content = b"".join(path.read_bytes() for path in file.parent.iterdir())
    assert all(secret.encode() not in content for secret in (*secrets, cookie))
    assert digest_of("same", "salt-1") != digest_of("same", "salt-2")


def test_no_other_text_lets_anybody_in(accounts):
    token = accounts.tokens.add("ann", Role.ADMIN)
    public, secret = token.split("_", 2)[1:]
    wrong = ("", "tune", token[:-1], f"{token}x", f"tune_{public}_{'A' * 43}", f"tune_{'0' * 16}_{secret}",
             token.upper(), f" {token}", f"{token}\n", f"tune_{public}_", "' OR 1=1 --")  # fmt: skip
    assert [text for text in wrong if accounts.tokens.found(text) is not None] == []


def test_an_expired_token_lets_nobody_in(accounts, now):
    token = accounts.tokens.add("ann", Role.READ, days=2)
    now.s += 2 * 86_400 - 1
    assert accounts.tokens.found(token) is not None
    now.s += 1
    assert accounts.tokens.found(token) is None
    assert not accounts.tokens.has_valid()


def test_a_revoked_token_lets_nobody_in_and_its_name_is_free(accounts):
    first = accounts.tokens.add("ann", Role.READ)
    accounts.tokens.revoke("ann")
    second = accounts.tokens.add("ann", Role.SUBMIT)
    assert accounts.tokens.found(first) is None
    assert accounts.tokens.found(second).role == Role.SUBMIT
    assert [token.revoked is None for token in accounts.tokens.tokens()] == [False, True]


def test_a_name_has_one_token_at_a_time(accounts):
    accounts.tokens.add("ann", Role.READ)
    with pytest.raises(UsageError, match="one token at most, but has one already; `tune token revoke ann` ends it"):
        accounts.tokens.add("ann", Role.ADMIN)


@pytest.mark.parametrize("name", ["", "a b", "-x", "a" * 65, "<b>", "a\n", "ä", "../a"])
def test_a_name_that_could_be_mistaken_for_something_else_is_refused(accounts, name):
    with pytest.raises(UsageError, match="NAME must be"):
        accounts.tokens.add(name, Role.READ)


@pytest.mark.parametrize("days", [0, -1, 1e9, float("nan")])
def test_an_expiry_that_means_nothing_is_refused(accounts, days):
    with pytest.raises(UsageError, match="--expires must be"):
        accounts.tokens.add("ann", Role.READ, days=days)


def test_a_token_that_does_not_exist_cannot_be_revoked(accounts):
    with pytest.raises(UsageError, match="no token of 'ann'"):
        accounts.tokens.revoke("ann")


def test_a_session_ends_after_its_time_with_its_token_or_when_it_is_closed(accounts, now):
    accounts.tokens.add("ann", Role.READ)
    old, closed, kept = (accounts.sessions.open(1) for _ in range(3))
    assert accounts.token_of_session(old).name == "ann"
    accounts.sessions.close(closed)
    assert accounts.token_of_session(closed) is None
    now.s += SESSION_S
    assert accounts.token_of_session(old) is None
    kept = accounts.sessions.open(1)
    accounts.tokens.revoke("ann")
    assert accounts.token_of_session(kept) is None


def test_a_session_outlives_the_service(file, now):
    with opened_accounts(f"sqlite:///{file}", now) as accounts:
        accounts.tokens.add("ann", Role.READ)
        cookie = accounts.sessions.open(1)
    with opened_accounts(f"sqlite:///{file}", now) as accounts:
        assert accounts.token_of_session(cookie).name == "ann"


def test_the_key_of_a_form_belongs_to_one_session():
    assert has_form_key("cookie", form_key("cookie"))
    assert not any(has_form_key("cookie", given) for given in ("", "cookie", form_key("other"), "ä"))


def test_each_role_may_do_what_the_one_before_may_and_more():
    users = [User(name="bob", role=role) for role in Role]
    assert [user.may_submit for user in users] == [False, True, True]
    assert [user.is_admin for user in users] == [False, False, True]
    rows = [[user.may_change(owner) for owner in ("bob", "cat", None)] for user in users]
    assert rows == [[False, False, False], [True, False, False], [True, True, True]]
    seen = [[user.may_see(owner, is_private=True) for owner in ("bob", "cat", None)] for user in users]
    assert seen == [[True, False, False], [True, False, False], [True, True, True]]
    everyone = itertools.product(users, ("bob", "cat", None))
    assert all(user.may_see(owner, is_private=False) for user, owner in everyone)
