"""Lessons for tuning: a person, and many questions about them with answers; independent of tokens and weights.

A lesson has exactly the texts that agents ask with (`PageTexts`, prompts "tuned" or "tuned-public"). Each epoch splits
a person's ratings again: some are asked about; persona, history and public ratings are made from the rest, so that no
answer is in the text before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from recsim_llm.agents.llm.page_agent import YES_NO
from recsim_llm.agents.llm.page_texts import PageTexts, RatedItem
from recsim_llm.agents.llm.prompts_text import phrases
from recsim_llm.agents.personas.persona import build_personas, traits
from recsim_llm.agents.personas.public_ratings import PublicRating, public_ratings
from recsim_llm.agents.personas.rated_history import rated_history
from recsim_llm.agents.statistical.fitting import fit_statistical
from recsim_llm.agents.statistical.statistical_users import rating_distribution, scores
from recsim_llm.data.dataset import Dataset, Impressions, Ratings
from recsim_llm.errors import DataError
from recsim_llm.experiments.tuning.logged_visits import LoggedVisit, Visits
from recsim_llm.seeding import Stream, uniforms
from recsim_llm.types import EMPTY, Bools, Floats, Ints, Persona

ASKED = 40
"""Most ratings of one person that a lesson asks about; never more than half of the person's known ratings."""
WATCH_SHARE = 0.25
"""Number of questions about watching per question about a rating."""
STRANGERS = 0.25
"""Share of lessons that tell at most `FEW` ratings of the person, so that the model learns about new people too."""
FEW = 10
UNRATED = 0.2
"""Share of items whose public ratings an epoch hides, so that the model learns about new items too."""
VISIT_SHARE = 0.3
"""Share of lessons after the first page of a visit."""
VISIT_ITEMS = 6
LOGGED_SHARE = 0.5
"""Share of lessons in the middle of a logged visit, if visits are logged."""
_FEWEST = 4  # least ratings per person: fewer leave nothing to ask, or nothing to tell


@dataclass(frozen=True, slots=True)
class LessonQuestion:
    """A question with its answer.

    Attributes:
        question: Its text.
        choices: The possible answers.
        target: Probability of each choice, which sum to 1.
        level: Index of the person's real answer.
        item: The item asked about; EMPTY if the question is about none.
    """

    question: str
    choices: tuple[str, ...]
    target: tuple[float, ...]
    level: int
    item: int


@dataclass(frozen=True, slots=True)
class Told:
    """Stars in a context, which can be predicted from the text before them.

    Attributes:
        place: Index of their first character in the context.
        target: (R,) probability of each level.
    """

    place: int
    target: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Lesson:
    """A person and the questions about them; each question follows the same context and does not see the others.

    Attributes:
        user: User id.
        system, context: As in `Prompt`.
        asked: The questions.
        told: Stars of the history, predicted too because they need no further tokens.
    """

    user: int
    system: str
    context: str
    asked: tuple[LessonQuestion, ...]
    told: tuple[Told, ...] = ()


class Curriculum:
    """All lessons that can be drawn from a training log. The same seed, epoch and person give the same lesson.

    Args:
        data: Catalogue and people.
        train: Ratings to learn from.
        learners: (U,) whether each person is taught.
        teacher: Weight in the targets of the distribution expected by collaborative filtering of `train`, in [0, 1];
            the rest is the rating given. A rating is mostly noise: the expectation teaches as much as several ratings.
        seed: Seed for all random draws.
        exposure: Logged visits; None if nobody logged what was shown: then items that others rate stand in for items
            shown and not watched.
        prompts: Folder of the texts: "tuned", or "tuned-public", which tells public ratings too.

    Raises:
        DataError: There is nothing to learn: no ratings, one level only, or nobody with four ratings.
    """

    def __init__(
        self,
        data: Dataset,
        train: Ratings,
        learners: Bools,
        teacher: float = 0.5,
        seed: int = 0,
        exposure: Impressions | None = None,
        prompts: str = "tuned",
    ) -> None:
        self._prompts = prompts
        self._data, self._train, self._seed, self._teacher = data, train, seed, teacher
        counts = np.bincount(train.users, minlength=train.num_users)
        self.learners = np.flatnonzero(learners & (counts >= _FEWEST))
        taught = train.take(np.isin(train.users, self.learners))
        if not len(taught):
            raise DataError(f"{data.name}: nobody to learn from has {_FEWEST} ratings or more, so there are no labels.")
        if len(np.unique(taught.values)) < 2:
            raise DataError(
                f"{data.name}: every rating is {taught.values[0]:g}, one class only, so there is nothing to learn."
            )
        self._chance = self._expected() if teacher else np.zeros((len(train), len(data.rating_levels)))
        self._levels = np.searchsorted(np.array(data.rating_levels), train.values)
        self._visits = Visits(exposure) if exposure is not None else None
        self._popularity = np.bincount(train.items, minlength=train.num_items).astype(np.float64)

    def epoch(self, number: int) -> Iterator[Lesson]:
        """Yield a lesson of each learner, in a new random order."""
        order = np.argsort(uniforms(self._seed, Stream.TUNING, number, 0, self.learners), kind="stable")
        yield from self.lessons(number, self.learners[order])

    def lessons(self, number: int, users: Ints) -> Iterator[Lesson]:
        """Yield the lessons of some people, as drawn in an epoch."""
        asked = self._asked(number)
        known = self._train.take(~asked)
        texts = self._texts(known, number)
        rows = _rows_by_user(self._train.users, asked)
        told = _rows_by_user(self._train.users, ~asked)
        for user in users.tolist():
            if user in rows:
                yield self._lesson(number, user, rows[user], told[user], texts)

    def _asked(self, number: int) -> Bools:
        """(M,) mask of the ratings that this epoch asks about: up to `ASKED` per learner, at most half of theirs."""
        train = self._train
        luck = uniforms(self._seed, Stream.TUNING, number, 1, train.users, train.items)
        order = np.lexsort((luck, train.users))
        users = train.users[order]
        rank = np.arange(len(order)) - np.searchsorted(users, users)
        # rank is each rating's position in its person's random order; most is (U,).
        most = np.minimum(np.bincount(train.users, minlength=train.num_users) // 2, ASKED)
        most[~np.isin(np.arange(train.num_users), self.learners)] = 0
        asked = np.zeros(len(train), dtype=np.bool_)
        asked[order] = rank < most[users]
        return asked

    def _texts(self, known: Ratings, number: int) -> PageTexts:
        """Texts of this epoch's people; some are described as if they were new."""
        public = public_ratings(known.take(uniforms(self._seed, Stream.TUNING, number, 4, known.items) >= UNRATED))
        strangers = uniforms(self._seed, Stream.TUNING, number, 2, np.arange(known.num_users)) < STRANGERS
        luck = uniforms(self._seed, Stream.TUNING, number, 3, known.users, known.items)
        order = np.lexsort((luck, known.users))
        users = known.users[order]
        rank = np.arange(len(order)) - np.searchsorted(users, users)
        told = np.zeros(len(known), dtype=np.bool_)
        told[order] = (rank < FEW) | ~strangers[users]
        known = known.take(told)
        personas, history = personas_of(self._data, known), rated_history(known, number)
        return _page_texts(self._data, personas, self._prompts, history, public)

    def _lesson(self, number: int, user: int, rows: Ints, told: Ints, texts: PageTexts) -> Lesson:
        rng = np.random.default_rng([self._seed, number, user])
        visit = self._visits.draw(rng, user) if self._visits and rng.random() < LOGGED_SHARE else None
        if visit:
            rows = rows[~np.isin(self._train.items[rows], visit.items)]
        items = self._train.items[rows]
        rated = [
            LessonQuestion(texts.rate[item], texts.levels, tuple(target.tolist()), level, item)
            for item, target, level in zip(
                items.tolist(), self._targets(rows), self._levels[rows].tolist(), strict=True
            )
        ]
        count = max(1, round(WATCH_SHARE * len(rows) / 2))
        if self._visits:
            before = [self._train.items[told], *([visit.items.ravel()] if visit else [])]
            seen = self._visits.shown(rng, user, np.concatenate(before), 2 * count)
        else:
            missed = self._missed(rng, items, self._train.items[told], count)
            watched = rng.choice(items, min(count, len(items)), replace=False)
            seen = [(int(item), 0) for item in watched] + [(int(item), 1) for item in missed]
        watches = [LessonQuestion(texts.watch[item], YES_NO, (1.0 - no, float(no)), no, item) for item, no in seen]
        if visit:
            context = self._logged_context(user, visit, texts)
        else:
            context = self._context(rng, user, told, np.array([*items, *(item for item, _ in seen)]), texts)
        leaves = []
        if visit and visit.left is not None:
            no = 1 - visit.left
            leaves = [LessonQuestion(texts.leave, YES_NO, (1.0 - no, float(no)), no, EMPTY)]
        return Lesson(user, texts.system, context, (*rated, *watches, *leaves), self._told(user, told, texts))

    def _logged_context(self, user: int, visit: LoggedVisit, texts: PageTexts) -> str:
        """The context after some pages; items watched but not rated get the level nearest to the person's mean."""
        levels = np.array(self._data.rating_levels)
        mine = self._train.users == user
        usual = levels[np.abs(levels - self._train.values[mine].mean()).argmin()]
        given = dict(zip(self._train.items[mine].tolist(), self._train.values[mine].tolist(), strict=True))
        items = visit.items.ravel().tolist()
        stars = [
            float(given.get(item, usual)) if watched else 0.0
            for item, watched in zip(items, visit.watched.ravel().tolist(), strict=True)
        ]
        return texts.context(user, items, stars, visit.items.shape[1])

    def _told(self, user: int, rows: Ints, texts: PageTexts) -> tuple[Told, ...]:
        """Stars of the history; none if the persona is made of this history alone, which would give them away."""
        told = texts.told(user)
        if len(told) <= FEW:
            return ()
        row_of = dict(zip(self._train.items[rows].tolist(), rows.tolist(), strict=True))
        targets = self._targets(np.array([row_of[item] for _, item, _ in told]))
        return tuple(Told(place, tuple(t.tolist())) for (place, _, _), t in zip(told, targets, strict=True))

    def _context(self, rng: np.random.Generator, user: int, told: Ints, asked: Ints, texts: PageTexts) -> str:
        if rng.random() >= VISIT_SHARE:
            return texts.context(user, [], [], VISIT_ITEMS)
        rows = rng.choice(told, min(len(told), int(rng.integers(1, VISIT_ITEMS))), replace=False)
        shown = [(int(i), float(s)) for i, s in zip(self._train.items[rows], self._train.values[rows], strict=True)]
        unseen = self._missed(rng, asked, self._train.items[told], VISIT_ITEMS - len(shown))
        page = [*shown, *((int(item), 0.0) for item in unseen)]
        mixed = [page[i] for i in rng.permutation(len(page))]
        return texts.context(user, [item for item, _ in mixed], [stars for _, stars in mixed], VISIT_ITEMS)

    def _missed(self, rng: np.random.Generator, asked: Ints, told: Ints, count: int) -> Ints:
        """Items that a person did not rate, drawn as often as others rate them; fewer where there are not enough."""
        rate = self._popularity.copy()
        rate[asked], rate[told] = 0.0, 0.0
        count = min(count, int((rate > 0).sum()))
        if not count:
            return np.zeros(0, dtype=np.int64)
        found: Ints = rng.choice(len(rate), count, replace=False, p=rate / rate.sum())
        return found

    def _targets(self, rows: Ints) -> Floats:
        given = np.eye(len(self._data.rating_levels))[self._levels[rows]]
        mixed: Floats = self._teacher * self._chance[rows] + (1.0 - self._teacher) * given
        return mixed

    def _expected(self) -> Floats:
        """(M, R) distribution that collaborative filtering of the training log expects for each of its ratings."""
        train, levels = self._train, self._data.rating_levels
        fitted = fit_statistical(train, traits(train, self._data.catalogue).activity, levels)
        expected: Floats = rating_distribution(fitted, scores(fitted, train.users, train.items[:, None]))[:, 0]
        return expected


@dataclass(frozen=True, slots=True)
class Watches:
    """Held-out questions about watching.

    Attributes:
        users, items: (M,) ids.
        watched: (M,) whether the person watched the item.
    """

    users: Ints
    items: Ints
    watched: Bools

    def __len__(self) -> int:
        return len(self.users)


def held_lessons(
    data: Dataset,
    told: Ratings,
    asked: Ratings,
    watches: Watches | None = None,
    most: int = ASKED,
    prompts: str = "tuned",
) -> Iterator[Lesson]:
    """Build lessons with held-out questions, asked as agents ask them, for measuring.

    Args:
        data: Catalogue and people.
        told: Ratings for personas and histories, of everybody who is asked about.
        asked: Ratings that are asked about.
        watches: Further questions about watching.
        most: Most questions per lesson; people with more get several lessons.
        prompts: See `Curriculum`.
    """
    texts = _page_texts(data, personas_of(data, told), prompts, rated_history(told), public_ratings(told))
    levels = np.searchsorted(np.array(data.rating_levels), asked.values)
    exact = np.eye(len(data.rating_levels))
    questions = [
        LessonQuestion(texts.rate[item], texts.levels, tuple(exact[level].tolist()), level, item)
        for item, level in zip(asked.items.tolist(), levels.tolist(), strict=True)
    ]
    users = asked.users
    if watches:
        users = np.concatenate([users, watches.users])
        questions += [
            LessonQuestion(texts.watch[item], YES_NO, (float(yes), 1.0 - yes), int(not yes), item)
            for item, yes in zip(watches.items.tolist(), watches.watched.tolist(), strict=True)
        ]
    for user, rows in _rows_by_user(users, np.ones(len(users), dtype=np.bool_)).items():
        for part in np.split(rows, range(most, len(rows), most)):
            mine = tuple(questions[row] for row in part.tolist())
            yield Lesson(user, texts.system, texts.context(user, [], [], VISIT_ITEMS), mine)


def _page_texts(
    data: Dataset,
    personas: dict[int, Persona],
    prompts: str,
    history: dict[int, tuple[RatedItem, ...]],
    public: dict[int, PublicRating],
) -> PageTexts:
    told = public if "public" in phrases(prompts) else None
    return PageTexts(data.catalogue, personas, data.rating_levels, prompts, history, told)


def personas_of(data: Dataset, known: Ratings) -> dict[int, Persona]:
    """Personas, by user, of the people with ratings in `known`; traits are measured relative to one another."""
    users, place = np.unique(known.users, return_inverse=True)
    few = Ratings(place.astype(np.int64), known.items, known.values, known.times, len(users), known.num_items)
    people = replace(data, people=tuple(data.people[user] for user in users.tolist()), ratings=few, impressions=None)
    return {persona.user: persona for persona in build_personas(people, few)}


def _rows_by_user(users: Ints, wanted: Bools) -> dict[int, Ints]:
    rows = np.flatnonzero(wanted)
    rows = rows[np.argsort(users[rows], kind="stable")]
    names, starts = np.unique(users[rows], return_index=True)
    return dict(zip(names.tolist(), np.split(rows, starts[1:]), strict=True))
