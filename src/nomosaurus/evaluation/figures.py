"""What each figure of a model is called and means; nothing but the standard library.

Whoever shows figures takes their words from here: the report, the card, MLflow, pull requests.
"""

from dataclasses import dataclass

NATS = "nats per character"
SHARE_OF_DRAWS = "share of draws"
LIKE_HELD_OUT = "near the held-out names’"


@dataclass(frozen=True)
class Description:
    """What a figure is.

    Attributes:
        title: Its name for people.
        unit: Empty for a plain number, as a perplexity or a ratio.
        direction: Which way is better.
        definition: In a line, what is measured, or how much of what it is a share.
    """

    title: str
    unit: str
    direction: str
    definition: str

    @property
    def label(self) -> str:
        """The title, and the unit unless the title has it."""
        has_unit = self.unit.lower() in self.title.lower()
        return self.title if has_unit else f"{self.title}, {self.unit}"


def _uniqueness(k: int) -> Description:
    return Description(
        f"Different among {k:,}",
        "share",
        "higher",
        f"Different names among the first {k:,} valid draws.",
    )


def _recall(draws: str) -> Description:
    return Description(
        f"Recall in {draws} draws",
        "share of held-out names",
        "higher",
        f"Share of the held-out names that {draws} draws are expected to hold; exact, not sampled.",
    )


CATALOGUE = {
    "bits_per_char": Description(
        "Bits per character",
        "bits per character",
        "lower",
        "What a held-out name costs, its end counted as a character; a toss of a fair coin "
        "is one bit.",
    ),
    "perplexity": Description(
        "Perplexity",
        "",
        "lower",
        "The same as a number of choices: it is as unsure of the next character as among so "
        "many equally likely ones.",
    ),
    "nats_per_char": Description(
        "Nats per character",
        NATS,
        "lower",
        "The same in nats, 0.693 to the bit: the unit of the gains below.",
    ),
    "gain_nats": Description(
        "Gain over the n-gram",
        NATS,
        "higher",
        "Nats per character that the model saves against the n-gram, on the same names.",
    ),
    "network_perplexity": Description(
        "Perplexity of the networks alone",
        "",
        "lower",
        "Without the n-gram that they are mixed with.",
    ),
    "baseline_perplexity": Description(
        "Perplexity of the n-gram alone",
        "",
        "lower",
        "Of a modified Kneser–Ney n-gram that learnt from the same names.",
    ),
    "network_gain_nats": Description(
        "Gain of the networks alone",
        NATS,
        "higher",
        "Nats per character that they save against the n-gram, on the same names.",
    ),
    "memory_gain_nats": Description(
        "Gain from memory",
        NATS,
        "higher",
        "Nats per character that the networks would lose if they forgot, at each step, all "
        "but the last character.",
    ),
    "condition_gain_nats": Description(
        "Gain from the category",
        NATS,
        "higher",
        "Nats per character that the model saves by being told a name’s category.",
    ),
    "weighted_perplexity": Description(
        "Perplexity by weight",
        "",
        "lower",
        "Perplexity with each held-out name counted as often as its weight says.",
    ),
    "weighted_gain_nats": Description(
        "Gain over the n-gram by weight",
        NATS,
        "higher",
        "The gain over the n-gram with each held-out name counted as often as its weight says.",
    ),
    "perplexity_with_familiar": Description(
        "Perplexity with familiar names",
        "",
        "lower",
        "Perplexity with the test names counted that the base had learnt: they look easier than "
        "they are.",
    ),
    "calibration_error": Description(
        "Calibration error",
        "probability",
        "near chance",
        "How far the probability of the likeliest next character is, on average over 15 bins, "
        "from how often that character came (Guo and others 2017).",
    ),
    "novelty": Description(
        "New",
        SHARE_OF_DRAWS,
        "higher",
        "Probability that a drawn name is not a training name; exact, not sampled.",
    ),
    "novelty_at_10k": Description(
        "New among 10,000",
        "share",
        "higher",
        "Of the different valid names among 10,000 draws, those that are no training names.",
    ),
    "familiar_at_10k": Description(
        "Familiar among 10,000",
        "share",
        "lower",
        "Of the different new names among 10,000 draws, those that the base had learnt.",
    ),
    "uniqueness_at_1k": _uniqueness(1_000),
    "uniqueness_at_10k": _uniqueness(10_000),
    "validity": Description(
        "Valid",
        SHARE_OF_DRAWS,
        "higher",
        "Draws that would be kept as they are if they stood on the list.",
    ),
    "truncated": Description(
        "Cut off",
        SHARE_OF_DRAWS,
        "lower",
        "Draws that had not ended at the length limit.",
    ),
    "js_1gram": Description(
        "Distance in single characters",
        "",
        LIKE_HELD_OUT,
        "Jensen–Shannon distance between the 1-grams of the training names, their ends "
        "counted, and of samples as large as the held-out list: 0 is the same, 1 nothing "
        "shared.",
    ),
    "js_2gram": Description(
        "Distance in pairs of characters", "", LIKE_HELD_OUT, "The same for 2-grams."
    ),
    "js_3gram": Description(
        "Distance in triples of characters", "", LIKE_HELD_OUT, "The same for 3-grams."
    ),
    "length_wasserstein": Description(
        "Distance in length",
        "characters",
        LIKE_HELD_OUT,
        "By how many characters, on average, lengths of such samples would have to change to "
        "be those of the training names (Wasserstein).",
    ),
    "nearest_distance": Description(
        "Edits to the nearest learnt name",
        "edits",
        LIKE_HELD_OUT,
        "Characters to add, drop, change or swap (Damerau–Levenshtein), on average over the "
        "different new names among 10,000 draws.",
    ),
    "generalisation_gap_nats": Description(
        "Generalisation gap",
        NATS,
        "lower",
        "Nats per character that a held-out name costs more than a training name; 0 is none.",
    ),
    "memorisation": Description(
        "Memorisation",
        "",
        "near 1",
        "Mean probability of a training name, over that of a held-out name; 1 is none. A few "
        "short names make both means.",
    ),
    "recall_at_1k": _recall("1,000"),
    "recall_at_10k": _recall("10,000"),
    "recall_at_100k": _recall("100,000"),
    "recall_at_1m": _recall("a million"),
}
"""Every figure that an evaluation makes, by its key in metrics/evaluate.json. "The same" is what
the figure before it is."""
