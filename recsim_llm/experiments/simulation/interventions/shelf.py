"""The shelf between a policy and a society's pages: adverts in slot 1, and items that are not released yet."""

from __future__ import annotations

import numpy as np

from recsim_llm.policies.feedback import Feedback, Learner
from recsim_llm.policies.policy_protocol import Policy
from recsim_llm.types import EMPTY, Ints, Observation


class Shelf:
    """Makes pages of K items from the wider pages of a policy.

    Args:
        policy: Policy with pages of at least K items, plus one for each advert and each withheld item.
        page_size: K.

    Attributes:
        policy: The current policy; may be replaced between rounds.
        withheld: Items that no policy may show yet.
        advert: The item in slot 1 of every page; EMPTY for none.
    """

    def __init__(self, policy: Policy, page_size: int) -> None:
        self.policy, self._page_size = policy, page_size
        self.withheld: set[int] = set()
        self.advert = EMPTY

    def pages(self, observation: Observation) -> Ints:
        """(B, K) pages: the advert first, then the policy's items in its order.

        A slot that the policy could not fill repeats an item; the environment leaves it empty.
        """
        wide = self.policy.act(observation)
        hidden = np.isin(wide, [*self.withheld, self.advert])
        # A stable sort moves hidden items behind visible ones and keeps the policy's order.
        order = np.argsort(hidden, axis=1, kind="stable")
        ranked = np.take_along_axis(wide, order, axis=1)
        if self.advert != EMPTY:
            ranked = np.concatenate([np.full((len(wide), 1), self.advert), ranked], axis=1)
        return ranked[:, : self._page_size]

    def learn(self, batch: Feedback) -> None:
        """Let the policy learn from a round, if it can."""
        if isinstance(self.policy, Learner) and len(batch.users):
            self.policy.learn(batch)
