"""What the metrics of a certificate are called, which belong together, and what each means in a sentence."""

from __future__ import annotations

from typing import Literal, NamedTuple

Better = Literal["higher", "lower", "near 1"]

GROUPS = ("Ratings", "Choices", "Population", "Decisions", "Sessions", "Text")


class Label(NamedTuple):
    """How a metric is shown.

    Attributes:
        group: One of `GROUPS`, or "Other".
        text: Short name.
        meaning: One sentence.
        better: Which direction is better.
        headline: Whether it stands on the one-screen table.
    """

    group: str
    text: str
    meaning: str
    better: Better = "higher"
    headline: bool = True


LABELS: dict[str, Label] = {
    "rps_skill": Label(
        "Ratings",
        "RPS skill over the histogram",
        "1 - RPS / RPS of the histogram of training ratings: 0 knows nothing of people and items, 1 knows all.",
    ),
    "rps": Label(
        "Ratings",
        "RPS",
        "Ranked probability score: squared error of the predicted CDF, summed over thresholds.",
        "lower",
        False,
    ),
    "log_loss": Label("Ratings", "log-loss, nats", "Mean -log of the probability given to the true rating.", "lower"),
    "brier": Label(
        "Ratings", "Brier (liked)", "Mean squared error of P(liked), liked = 4 of 5 stars or more.", "lower", False
    ),
    "ece": Label(
        "Ratings",
        "calibration error (liked)",
        "ECE: mean |predicted - observed| share of liked items in 10 equal-width bins of the prediction.",
        "lower",
    ),
    "auc_like": Label("Ratings", "AUC (liked)", "Chance that a liked row gets a higher P(liked) than a row not liked."),
    "rmse_mean": Label("Ratings", "RMSE of the mean", "Root mean squared error of the predicted mean, stars.", "lower"),
    "mae_mean": Label(
        "Ratings", "MAE of the mean", "Mean absolute error of the predicted mean, stars.", "lower", False
    ),
    "sampled_rmse": Label(
        "Ratings",
        "RMSE of drawn ratings",
        "RMSE of one rating drawn from the prediction: not a target, two draws of one person differ as well.",
        "lower",
        False,
    ),
    "pairwise_order": Label(
        "Ratings",
        "pairs in order",
        "Share of a person's pairs of unequal ratings whose predicted means are in order.",
    ),
    "incremental_log_loss": Label(
        "Ratings",
        "information over CF, nats",
        "Held-out log-loss of liking by all baselines together, less the same with the simulator added.",
    ),
    "incremental_p": Label(
        "Ratings", "information over CF, p", "Share of permutations within people that gain as much.", "lower", False
    ),
    "rating_jsd_bits": Label(
        "Population",
        "rating histogram, JSD bits",
        "Divergence of the histograms of drawn and of real ratings.",
        "lower",
    ),
    "rating_emd": Label(
        "Population", "rating histogram, EMD", "Earth mover's distance of the two histograms, stars.", "lower", False
    ),
    "rating_sd_ratio": Label(
        "Population",
        "spread of ratings, ratio",
        "Standard deviation of drawn over that of real ratings.",
        "near 1",
        False,
    ),
    "between_user_variance_ratio": Label(
        "Population",
        "between-user variance, ratio",
        "Variance over people of their mean drawn rating, over that of their mean real rating.",
        "near 1",
    ),
    "constant_raters": Label(
        "Population",
        "constant raters",
        "Share of people who give one and the same rating to everything.",
        "lower",
        False,
    ),
    "popularity_jsd_bits": Label(
        "Population",
        "popularity of choices, JSD bits",
        "Divergence of popularity deciles of simulated and of real choices, when both are shown the same items.",
        "lower",
    ),
    "genre_jsd_bits": Label(
        "Population", "genres of choices, JSD bits", "The same for genres, over everybody.", "lower", False
    ),
    "genre_user_jsd_bits": Label(
        "Population", "genres a person, JSD bits", "The same for genres, person by person, then averaged.", "lower"
    ),
    "exposure_auc": Label(
        "Choices",
        "AUC among shown items",
        "Within a person: chance that a chosen item is scored above one shown and not chosen.",
    ),
    "watch_log_loss": Label(
        "Choices", "log-loss of choices, nats", "Mean -log of the probability of what happened.", "lower"
    ),
    "watch_ece": Label(
        "Choices", "calibration error of choices", "ECE of the probability of taking an item up.", "lower"
    ),
    "incremental_watch_log_loss": Label(
        "Choices", "information over CF, nats", "As above, for rated against popularity-matched unrated items."
    ),
    "incremental_watch_p": Label(
        "Choices", "information over CF, p", "Share of permutations within people that gain as much.", "lower", False
    ),
    "slot_curve_gap": Label(
        "Choices",
        "slot curve against relevance",
        "Mean over slots of the gap between watching and relevance, each relative to its mean; 0: no position bias.",
        "lower",
    ),
    "discrimination_popmatched_auc": Label(
        "Choices",
        "AUC, popularity-matched 1:1",
        "Within a person: chance that a rated item is scored above an unrated one that is as popular.",
    ),
    "tester_pairs": Label(
        "Decisions",
        "known-order recommenders",
        "Share of pairs of recommenders, one spoilt by construction, put in order.",
    ),
    "ranking_tau": Label("Decisions", "order of recommenders, tau", "Kendall's tau with the order by reality."),
    "ranking_regret": Label("Decisions", "top-1 regret", "What is lost by choosing the simulator's best.", "lower"),
    "session_length_ks": Label(
        "Sessions", "session length, KS", "Largest gap between simulated and real survival curves of sessions.", "lower"
    ),
    "trait_activity": Label("Sessions", "active people stay longer", "Pages a session, trait level 3 less level 1."),
    "trait_conformity": Label(
        "Sessions", "mavericks deviate", "Squared distance of ratings to the item's mean, trait level 3 less level 1."
    ),
    "trait_diversity": Label(
        "Sessions",
        "wide tastes watch widely",
        "Genres that make up four fifths of what is watched, level 3 less level 1.",
    ),
    "naming_ids_auc": Label(
        "Text", "AUC with ids for titles", "The popularity-matched AUC when items are called by numbers."
    ),
    "naming_invented_auc": Label(
        "Text",
        "AUC with invented titles",
        "The popularity-matched AUC when titles are invented; years and genres stay.",
    ),
}

_MEASURES = {
    "accuracy": "share of right yes and no answers",
    "precision": "share of the items said yes to that the person rated",
    "recall": "share of the rated items that are said yes to",
    "f1": "harmonic mean of precision and recall",
    "auc": "within a person: chance that a rated item is scored above an unrated one",
}
_HEADLINES = {"discrimination_1_1_accuracy", "discrimination_1_1_f1", "discrimination_1_1_auc", "discrimination_1_9_f1"}

for _kind, _words in (("", "unrated items drawn uniformly"), ("popmatched_", "unrated items as popular as rated ones")):
    for _ratio in (1, 2, 3, 9):
        for _name, _meaning in _MEASURES.items():
            _key = f"discrimination_{_kind}1_{_ratio}_{_name}"
            LABELS[_key] = Label(
                "Choices",
                f"{'popularity-matched ' if _kind else ''}1:{_ratio} {_name}",
                f"Rated against {_words}, 1:{_ratio}: {_meaning}.",
                headline=_key in _HEADLINES,
            )


def label_of(name: str) -> Label:
    """The label of a metric; an unknown one is shown under its own name."""
    return LABELS.get(name, Label("Other", name, ""))
