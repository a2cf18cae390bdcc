"""Applies interventions to a running society, each at the beginning of its round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from recsim_llm.agents.population import SocialPopulation
from recsim_llm.agents.society.inhabitants import Message
from recsim_llm.environments.society import Society
from recsim_llm.experiments.simulation.interventions.interventions import (
    Advert,
    Intervention,
    Link,
    NewItem,
    PolicySwitch,
    Post,
    Profile,
)
from recsim_llm.experiments.simulation.interventions.shelf import Shelf
from recsim_llm.policies.policy_protocol import Policy
from recsim_llm.types import EMPTY, Ints, Persona


class Interventions:
    """The interventions of one arm.

    Args:
        plan: Interventions by date; rounds count from 1.
        society: The society.
        shelf: The shelf between policy and pages.
        policies: Policies by name, including those that are switched to.
        population: Population with the personas, by user.
    """

    def __init__(
        self,
        plan: Sequence[Intervention],
        society: Society,
        shelf: Shelf,
        policies: Mapping[str, Policy],
        population: SocialPopulation,
    ) -> None:
        self._plan, self._society, self._shelf, self._policies = plan, society, shelf, policies
        self._people: dict[int, Persona] = {p.user: p for p in population.personas}
        shelf.withheld |= {i.item for i in plan if isinstance(i, NewItem)}

    def apply(self, number: int) -> None:
        """Apply the interventions due before round `number` (from 0) opens; expired adverts end first."""
        for intervention in self._plan:
            if isinstance(intervention, Advert) and number + 1 > intervention.until:
                self._end_advert(intervention)
        for intervention in self._plan:
            if intervention.round == number + 1:
                self._carry_out(intervention)

    def _carry_out(self, intervention: Intervention) -> None:
        match intervention:
            case Advert():
                self._shelf.advert = intervention.item
                self._society.inhabitants.advertise(intervention.item, intervention.slogan)
            case NewItem():
                self._shelf.withheld.discard(intervention.item)
            case PolicySwitch():
                self._shelf.policy = self._policies[intervention.policy]
            case Profile():
                self._change(intervention)
            case Link():
                self._society.graph = intervention.apply(self._society.graph)
            case Post():
                self._post(intervention)

    def _end_advert(self, advert: Advert) -> None:
        if self._shelf.advert == advert.item:
            self._shelf.advert = EMPTY
            self._society.inhabitants.advertise(advert.item, "")

    def _change(self, profile: Profile) -> None:
        changed = profile.apply(self._people[profile.user])
        self._people[profile.user] = changed
        self._society.change(changed)

    def _post(self, post: Post) -> None:
        receivers = self._audience(post)
        message = Message(post.author, post.text, post.item, post.stars)
        hours = np.full(len(receivers), self._society.round * self._society.rules.round_hours)
        self._society.deliver(receivers, [message] * len(receivers), hours)

    def _audience(self, post: Post) -> Ints:
        """Readers of an injected post, each once: the requested people who live in the society."""
        members = self._society.members
        if post.to == "everybody":
            return members
        asked = self._society.graph.neighbours(post.author) if post.to == "neighbours" else np.array(post.to)
        return np.intersect1d(members, asked)
