"""Contract tests for user models: subclass `UserModelContract` and override `make`."""

from __future__ import annotations

import json

import numpy as np

from recsim_llm.agents.user_model import Description, UserModel
from recsim_llm.types import EMPTY, Ints, Responses


class UserModelContract:
    """Inherit and override `make`; class names of tests begin with Test."""

    def make(self) -> UserModel:
        """Return a population of at least 8 users and 20 items; two calls return equal ones."""
        raise NotImplementedError

    def begun(self, users: Ints) -> UserModel:
        """Return a population in which these users have begun a session, under handles 0, 1, ..."""
        model = self.make()
        model.reset(np.arange(len(users)), users, users.astype(np.uint64))
        return model

    def test_reactions_are_probabilities(self) -> None:
        """Within [0, 1], ratings sum to 1, empty slots are never watched."""
        pages = np.array([[1, 2, EMPTY], [3, EMPTY, 4], [5, 6, 7]])
        model = self.begun(np.array([0, 1, 2]))
        reaction = model.react(np.arange(3), pages)
        assert reaction.watch_BK.shape == (3, 3)
        assert reaction.rating_BKR.shape == (3, 3, len(model.rating_levels))
        assert ((reaction.watch_BK >= 0) & (reaction.watch_BK <= 1)).all()
        assert (reaction.watch_BK[pages == EMPTY] == 0).all()
        assert (reaction.rating_BKR >= 0).all()
        np.testing.assert_allclose(reaction.rating_BKR.sum(axis=-1), 1.0)

    def test_rating_levels_ascend_and_are_positive(self) -> None:
        """0 stars means not watched, so no level is 0."""
        levels = self.make().rating_levels
        assert (levels > 0).all()
        assert (np.diff(levels) > 0).all()

    def test_leaving_is_a_probability(self) -> None:
        """(B,) within [0, 1]."""
        leave = self._one_round(self.begun(np.arange(4)), np.arange(4))
        assert leave.shape == (4,)
        assert ((leave >= 0) & (leave <= 1)).all()

    def test_reacting_changes_nothing(self) -> None:
        """A user asked twice gives the same answer."""
        model, pages = self.begun(np.arange(3)), np.arange(9).reshape(3, 3)
        first, second = model.react(np.arange(3), pages), model.react(np.arange(3), pages)
        np.testing.assert_array_equal(first.watch_BK, second.watch_BK)
        np.testing.assert_array_equal(first.rating_BKR, second.rating_BKR)

    def test_batch_and_order_do_not_matter(self) -> None:
        """A user has the same probabilities alone and in a shuffled batch, before and after a page."""
        users = np.array([3, 0, 7, 5])
        together = self.begun(users)
        leave = self._one_round(together, np.arange(4))
        after = together.react(np.arange(4), np.full((4, 1), 9)).watch_BK
        for i, user in enumerate(users):
            alone = self.begun(np.array([user]))
            assert self._one_round(alone, np.array([i]), handles=np.array([0]))[0] == leave[i]
            assert alone.react(np.array([0]), np.array([[9]])).watch_BK[0, 0] == after[i, 0]

    def test_a_user_may_be_in_two_sessions(self) -> None:
        """Sessions of one user do not affect each other."""
        model, fresh = self.begun(np.array([2, 2])), self.begun(np.array([2, 2]))
        self._one_round(model, np.array([0]), handles=np.array([0]))
        page = np.array([[0, 1, 2]])
        np.testing.assert_array_equal(
            model.react(np.array([1]), page).watch_BK, fresh.react(np.array([1]), page).watch_BK
        )

    def test_a_handle_used_again_is_forgotten(self) -> None:
        """After `reset`, no state of the last session is left."""
        model, fresh = self.begun(np.arange(3)), self.begun(np.arange(3))
        self._one_round(model, np.arange(3))
        model.reset(np.arange(3), np.arange(3), np.arange(3, dtype=np.uint64))
        pages = np.arange(9).reshape(3, 3)
        np.testing.assert_array_equal(
            model.react(np.arange(3), pages).watch_BK, fresh.react(np.arange(3), pages).watch_BK
        )

    def test_people_describe_themselves(self) -> None:
        """`describe` returns a `Description` with JSON counts, and changes nothing."""
        model, pages = self.begun(np.arange(3)), np.arange(9).reshape(3, 3)
        before = model.react(np.arange(3), pages)
        said = model.describe()
        assert isinstance(said, Description)
        assert json.loads(json.dumps(dict(said.counts))) == said.counts
        np.testing.assert_array_equal(model.react(np.arange(3), pages).watch_BK, before.watch_BK)

    def test_nobody_is_a_batch(self) -> None:
        """An empty batch gives empty arrays, not an error."""
        model, nobody = self.begun(np.arange(2)), np.zeros(0, dtype=np.int64)
        assert model.react(nobody, np.zeros((0, 3), dtype=np.int64)).watch_BK.shape == (0, 3)
        assert len(self._one_round(model, nobody)) == 0

    def _one_round(self, model: UserModel, rows: Ints, handles: Ints | None = None) -> np.ndarray:
        """Row i sees items 3i, 3i+1, 3i+2, watches the first, and gives the best rating."""
        pages = rows[:, None] * 3 + np.arange(3)
        watched = np.zeros(pages.shape, dtype=np.bool_)
        watched[:, 0] = True
        responses = Responses(watched, np.where(watched, model.rating_levels[-1], 0.0))
        return model.observe(rows if handles is None else handles, pages, responses)
