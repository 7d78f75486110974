"""What holds of tokens and of the notes of what was written, on any database."""

import pytest
from sqlalchemy import select

from aggregator.access import AccessError, Right, TokenRole
from aggregator.register.schema import TOKEN
from aggregator.tokens import Tokens, new_secret

NOW = 1_800_000_000_000


class TokensSuite:
    """Subclasses give `url`."""

    @pytest.fixture
    def tokens(self, url):
        tokens = Tokens(url)
        tokens.open()
        yield tokens
        tokens.close()

    @staticmethod
    def give(tokens, secret="s", role=TokenRole.ENTERPRISE, **more):
        scope = more or {"sites": ("works", "office")}
        return tokens.add(secret, "某厂", role, author="me", now_ms=NOW, **scope)

    def test_a_token_is_found_by_itself_alone_and_kept_as_a_hash(self, tokens):
        secret, other = new_secret(), new_secret()
        assert secret != other
        assert not tokens.ever_made()
        given = self.give(tokens, secret)
        assert tokens.ever_made()
        assert tokens.find(secret) == given
        assert (given.name, given.made_by, given.made_ms) == ("某厂", "me", NOW)
        assert given.access.sites == ("works", "office")
        assert given.access.rights == {Right.PUBLIC, Right.READ}
        for wrong in (other, "", secret[:-1], secret + " ", secret.upper(), "\udcff"):
            assert tokens.find(wrong) is None
        with tokens._engine.begin() as db:
            assert secret not in repr(db.execute(select(TOKEN)).all())

    def test_two_cannot_have_one_token(self, tokens):
        from aggregator.store.base import StoreRefused

        self.give(tokens, "same")
        with pytest.raises(StoreRefused):
            self.give(tokens, "same")

    def test_revoked_it_holds_no_longer_and_the_first_who_did_it_is_kept(self, tokens):
        given = self.give(tokens)
        assert given.holds(NOW)
        revoked = tokens.revoke(given.id, "another", NOW + 5)
        assert not revoked.holds(NOW + 5)
        assert tokens.revoke(given.id, "a third", NOW + 9) == revoked == tokens.find("s")
        assert (revoked.revoked_ms, revoked.revoked_by) == (NOW + 5, "another")
        assert tokens.revoke(999, "x", NOW) is None
        assert tokens.ever_made()

    def test_it_expires_at_its_time_and_not_before(self, tokens):
        given = self.give(tokens, sites=("works",), expires_ms=NOW + 1000)
        assert given.holds(NOW + 999)
        assert not given.holds(NOW + 1000)

    @pytest.mark.parametrize(
        ("role", "scope", "reason"),
        [
            (TokenRole.SUPERVISOR, {}, "regions, and nothing else"),
            (TokenRole.SUPERVISOR, {"everything": True}, "regions, and nothing else"),
            (TokenRole.SUPERVISOR, {"regions": ("370114",), "sites": ("a",)}, "regions, and"),
            (TokenRole.ENTERPRISE, {"regions": ("370114",)}, "sites, and nothing else"),
            (TokenRole.ENTERPRISE, {"sites": ("a",), "everything": True}, "sites, and nothing"),
            (TokenRole.MACHINE, {}, "regions, sites, or everything"),
            (TokenRole.ENGINEER, {"sites": ("a",), "everything": True}, "regions, sites, or"),
            (TokenRole.SUPERVISOR, {"regions": ("3701",)}, "6 digits"),
            (TokenRole.SUPERVISOR, {"regions": ("37011４",)}, "6 digits"),
            (TokenRole.ENTERPRISE, {"sites": ("a b",)}, "a b"),
        ],
    )
    def test_a_scope_that_cannot_be_meant_is_refused(self, tokens, role, scope, reason):
        with pytest.raises(AccessError, match=reason):
            tokens.add("s", "n", role, author="me", now_ms=NOW, **scope)
        assert tokens.grants() == ()

    def test_notes_are_kept_in_order_with_who_wrote_and_how_it_ended(self, tokens):
        given = self.give(tokens)
        ids = [
            tokens.begin(given, "POST", "/api/v1/edges/\0/x", body, NOW + n)
            for n, body in enumerate([b'{"a": 1}', "密".encode(), b"\xff\x00"])
        ]
        tokens.end(ids[1], 201)
        told = tokens.written(100)
        assert [(one.id, one.time_ms) for one in told] == [
            (id_, NOW + n) for n, id_ in enumerate(ids)
        ]
        assert [one.status for one in told] == [None, 201, None]
        assert {one.path for one in told} == {"/api/v1/edges/�/x"}
        assert [one.body for one in told] == ['{"a": 1}', "密", "��"]
        assert {(one.name, one.role, one.token) for one in told} == {
            ("某厂", "enterprise", given.id)
        }
        assert [one.id for one in tokens.written(2)] == ids[1:]
