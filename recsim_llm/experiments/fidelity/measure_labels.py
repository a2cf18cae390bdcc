"""Labels of the certificate's metrics: short name, group, and meaning in one sentence."""

from __future__ import annotations

from typing import Literal, NamedTuple

Better = Literal["higher", "lower", "near 1"]

GROUPS = ("Ratings", "Choices", "Population", "Decisions", "Sessions", "Text")
OTHER = "Other"
DISCRIMINATION = ("discrimination", "discrimination_popmatched")
RATIOS = (1, 2, 3, 9)


class Label(NamedTuple):
    """How a metric is shown.

    Attributes:
        group: One of `GROUPS`, or "Other".
        text: Short name, 26 characters at most.
        meaning: One sentence.
        better: Which direction is better.
        headline: Whether it is one of the main metrics: on the one-screen table and counted first.
    """

    group: str
    text: str
    meaning: str
    better: Better = "higher"
    headline: bool = True


LABELS: dict[str, Label] = {
    "rps_skill": Label(
        "Ratings", "RPS skill",
        "1 - RPS / RPS of the histogram of training ratings: 0 knows nothing of people and items, 1 knows all.",
    ),
    "rps": Label(
        "Ratings", "RPS", "Ranked probability score: squared error of the predicted CDF, summed over thresholds.",
        "lower", False,
    ),
    "log_loss": Label(
        "Ratings", "log-loss of the rating", "Mean -log of the probability given to the true rating, nats.", "lower"
    ),
    "brier": Label(
        "Ratings", "Brier score of liking", "Mean squared error of P(liked), liked being 4 of 5 stars or more.",
        "lower", False,
    ),
    "ece": Label(
        "Ratings", "calibration error (ECE)",
        "Mean gap between predicted and observed share of liked items, in 10 equal-width bins of the prediction.",
        "lower",
    ),
    "hybrid_gain": Label(
        "Ratings", "hybrid over its backbone",
        "Log-loss of the backbone less that of the hybrid, nats a rating: the language model must do no harm.",
    ),
    "auc_like": Label("Ratings", "AUC of liking", "Chance that a liked row gets a higher P(liked) than one not liked."),
    "rmse_mean": Label("Ratings", "RMSE of the mean", "Root mean squared error of the predicted mean, stars.", "lower"),
    "mae_mean": Label(
        "Ratings", "MAE of the mean", "Mean absolute error of the predicted mean, stars.", "lower", False
    ),
    "sampled_rmse": Label(
        "Ratings", "RMSE of drawn ratings",
        "RMSE of one rating drawn from the prediction, stars: reported, no target, for a faithful draw varies too.",
        "lower", False,
    ),
    "pairwise_order": Label(
        "Ratings", "pairs in order",
        "Share of a person's pairs of unequal ratings whose predicted means are in the right order, ties half.",
    ),
    "incremental_log_loss": Label(
        "Ratings", "liking: gain over CF",
        "Held-out log-loss of liking by all baselines together, less the same with the simulator added; nats a rating.",
    ),
    "incremental_p": Label(
        "Ratings", "liking: p of the gain",
        "Share of permutations of the simulator's answers within each person that gain as much.", "lower", False,
    ),
    "discrimination_popmatched_auc": Label(
        "Choices", "popularity-matched AUC",
        "Within a person: chance that a rated item is scored above an unrated one that is as popular, at 1:1.",
    ),
    "exposure_auc": Label(
        "Choices", "AUC among shown items",
        "Within a person: chance that a chosen item is scored above one that was shown and not chosen.",
    ),
    "watch_log_loss": Label(
        "Choices", "log-loss of choices", "Mean -log of the probability of what happened, nats a shown item.", "lower"
    ),
    "watch_ece": Label(
        "Choices", "choice calibration error",
        "Mean gap between predicted and observed share of chosen items, in 10 equal-width bins.", "lower",
    ),
    "incremental_watch_log_loss": Label(
        "Choices", "choosing: gain over CF",
        "Held-out log-loss of choosing by all baselines together, less the same with the simulator added; nats a row.",
    ),
    "incremental_watch_p": Label(
        "Choices", "choosing: p of the gain",
        "Share of permutations of the simulator's answers within each person that gain as much.", "lower", False,
    ),
    "slot_curve_gap": Label(
        "Choices", "slot curve vs relevance",
        "Mean over slots of the gap between watching and relevance, each relative to its mean; 0: no position bias.",
        "lower",
    ),
    "rating_jsd_bits": Label(
        "Population", "rating histogram JSD",
        "Jensen-Shannon divergence of the histograms of drawn and of real ratings, bits.", "lower",
    ),
    "rating_emd": Label(
        "Population", "rating histogram EMD", "Earth mover's distance of the two histograms, stars.", "lower", False
    ),
    "rating_sd_ratio": Label(
        "Population", "spread of ratings", "Standard deviation of drawn over that of real ratings.", "near 1"
    ),
    "between_user_variance_ratio": Label(
        "Population", "between-person variance",
        "Variance over people of their mean drawn rating, over that of their mean real rating.", "near 1",
    ),
    "constant_raters": Label(
        "Population", "constant raters", "Share of people who give one and the same rating to everything.", "lower"
    ),
    "popularity_jsd_bits": Label(
        "Population", "popularity of choices JSD",
        "Divergence of popularity deciles of simulated and real choices from the same shown items, bits.", "lower",
    ),
    "genre_jsd_bits": Label(
        "Population", "genres of choices JSD",
        "Divergence of genres of simulated and real choices from the same shown items, bits.", "lower", False,
    ),
    "genre_user_jsd_bits": Label(
        "Population", "genres a person JSD", "The same for genres, person by person, then averaged, bits.", "lower"
    ),
    "tester_pairs": Label(
        "Decisions", "known-order recommenders",
        "Share of pairs of recommenders, one spoilt more than the other by construction, that are put in order.",
    ),
    "ranking_tau": Label(
        "Decisions", "order of recommenders tau",
        "Kendall's tau between the order of recommenders in simulation and in fully observed reality.",
    ),
    "ranking_regret": Label(
        "Decisions", "top-1 regret",
        "True utility lost by choosing the recommender that simulation puts first.", "lower",
    ),
    "session_length_ks": Label(
        "Sessions", "session length KS",
        "Largest gap between the survival curves of simulated and of real sessions.", "lower",
    ),
    "trait_activity": Label(
        "Sessions", "active people stay longer", "Pages a session, people of trait level 3 less people of level 1."
    ),
    "trait_conformity": Label(
        "Sessions", "mavericks deviate",
        "Squared distance of ratings from the item's mean, people of trait level 3 less people of level 1.",
    ),
    "trait_diversity": Label(
        "Sessions", "wide tastes watch widely",
        "Genres that make up four fifths of what is watched, people of trait level 3 less people of level 1.",
    ),
    "naming_ids_auc": Label(
        "Text", "AUC with ids for titles",
        "The popularity-matched AUC when items are called by numbers: what is left without any text.",
    ),
    "naming_invented_auc": Label(
        "Text", "AUC with invented titles",
        "The popularity-matched AUC when titles are invented and genres stay: a fall means recall, not taste.",
    ),
    "title_injection_watch": Label(
        "Text", "title injection: watching",
        "Shift in P(watch) by the worst of several instructions in a title, less that by harmless words as long.",
        "lower",
    ),
    "title_injection_stars": Label(
        "Text", "title injection: stars",
        "The same shift in expected stars.", "lower",
    ),
}  # fmt: skip

MEASURES = {
    "accuracy": "share of right yes and no answers",
    "precision": "share of the items said yes to that the person rated",
    "recall": "share of the rated items that are said yes to",
    "f1": "harmonic mean of precision and recall",
    "auc": "within a person, the chance that a rated item is scored above an unrated one",
}
"""What is measured in each discrimination test."""

_PUBLISHED = {"discrimination_1_1_accuracy", "discrimination_1_9_f1"}
"""The metrics that papers on simulators report; the rest of the forty are in a table of their own."""


def discrimination_name(test: str, ratio: int, measure: str) -> str:
    """The name of a discrimination metric: "discrimination_popmatched_1_9_f1"."""
    return f"{test}_1_{ratio}_{measure}"


def _discrimination(test: str, ratio: int, measure: str) -> Label:
    matched = test != DISCRIMINATION[0]
    words = "as popular as rated ones" if matched else "drawn uniformly"
    return Label(
        "Choices",
        f"{'matched ' if matched else ''}1:{ratio} {_MEASURE_TEXT.get(measure, measure)}",
        f"Rated items against unrated ones {words}, 1:{ratio}: {MEASURES[measure]}.",
        headline=discrimination_name(test, ratio, measure) in _PUBLISHED,
    )


_MEASURE_TEXT = {"f1": "F1", "auc": "AUC"}

LABELS |= {
    discrimination_name(test, ratio, measure): _discrimination(test, ratio, measure)
    for test in DISCRIMINATION
    for ratio in RATIOS
    for measure in MEASURES
}


def label_of(name: str) -> Label:
    """The label of a metric; an unknown one is shown under its own name."""
    return LABELS.get(name, Label(OTHER, name, ""))
