"""Contract tests for agents of a society, in addition to the user-model contract: subclass `InhabitantsContract`."""

from __future__ import annotations

import numpy as np

from recsim_llm.agents.society.inhabitants import Action, Inhabitants, Message
from recsim_llm.types import Ints, Responses


class InhabitantsContract:
    """Inherit and override `inhabitants`; class names of tests begin with Test."""

    def inhabitants(self) -> Inhabitants:
        """A population of at least 8 people; two calls give equal ones."""
        raise NotImplementedError

    def born(self, users: Ints) -> Inhabitants:
        """Return agents after `reset`; handles are user ids."""
        people = self.inhabitants()
        people.reset(users, users, users.astype(np.uint64))
        return people

    def test_intentions_are_probabilities(self) -> None:
        """(B, 5), rows sum to 1; the same when asked twice, alone, or in a batch."""
        users = np.array([0, 3, 5])
        people = self.born(users)
        intended = people.intend(users, np.full(3, 2.0))
        assert intended.shape == (3, len(Action))
        assert (intended >= 0).all()
        np.testing.assert_allclose(intended.sum(axis=1), 1.0)
        np.testing.assert_array_equal(people.intend(users, np.full(3, 2.0)), intended)
        np.testing.assert_array_equal(self.born(users[1:2]).intend(users[1:2], np.full(1, 2.0))[0], intended[1])

    def test_words_are_words(self) -> None:
        """Queries, posts and dialogues are texts by the agents asked, independent of the batch."""
        users, hours = np.array([2, 4, 6]), np.full(3, 1.0)
        people = self.born(np.arange(8))
        assert all(isinstance(query, str) and query for query in people.search_query(users, hours))
        posts = people.post(users, hours)
        assert [post.author for post in posts] == users.tolist()
        dialogues = people.chat(users, users + 1, hours)
        for user, dialogue in zip(users.tolist(), dialogues, strict=True):
            assert dialogue
            assert {message.author for message in dialogue} <= {user, user + 1}
        alone = self.born(np.arange(8))
        assert alone.post(users[:1], hours[:1]) == posts[:1]

    def test_a_further_visit_is_a_fresh_one(self) -> None:
        """After `visit`, fatigue is reset, and the same page gets the same probabilities as before."""
        users = np.array([1, 2])
        people, pages = self.born(users), np.arange(6).reshape(2, 3)
        for _ in range(2):
            reaction = people.react(users, pages)
            assert ((reaction.watch_BK >= 0) & (reaction.watch_BK <= 1)).all()
            people.visit(users, np.full(2, 30.0))

    def test_what_is_heard_is_not_lost(self) -> None:
        """Messages change the receivers' reactions or plans; agents who heard nothing answer as before."""
        users = np.arange(8)
        people, deaf = self.born(users), self.born(users)
        message = Message(5, "Item 3 is the best I ever saw.", 3, float(people.rating_levels[-1]))
        pages, now = np.tile([3, 4, 5], (8, 1)), np.full(8, 6.0)
        watched = pages == 5  # so that agents have something to remember
        for each in (people, deaf):
            each.observe(users, pages, Responses(watched, watched * people.rating_levels[-1]))
        people.hear(users[:-1], [message] * 7, np.full(7, 4.0))
        for each in (people, deaf):
            each.visit(users, now)
        said = [np.hstack([each.react(users, pages).watch_BK, each.intend(users, now)]) for each in (people, deaf)]
        changed = (said[0] != said[1]).any(axis=1)
        assert changed[:-1].any()
        assert not changed[-1]

    def test_nobody_is_a_batch(self) -> None:
        """An empty batch gives empty answers, not errors."""
        people, nobody, hours = self.born(np.arange(2)), np.zeros(0, dtype=np.int64), np.zeros(0)
        people.visit(nobody, hours)
        people.hear(nobody, [], hours)
        assert people.intend(nobody, hours).shape == (0, len(Action))
        assert people.search_query(nobody, hours) == []
        assert people.post(nobody, hours) == []
        assert people.chat(nobody, nobody, hours) == []
