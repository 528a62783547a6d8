"""What a finished pipeline leaves in metrics/, for the tests of those who read it."""

TRAINED = {
    "epochs": 4,
    "validation_nats": 2.0,
    "network_validation_nats": 2.1,
    "ngram_validation_nats": 2.2,
    "num_parameters": 987_654,
}


def figure(value, low=None, high=None, floor=None) -> dict:
    return {"value": value, "low": low, "high": high, "floor": floor}


PREPARED = {
    "rows_read": 1_300,
    "names_kept": 1_290,
    "duplicates_merged": 4,
    "dropped_empty": 0,
    "dropped_too_long": 6,
    "names_train": 1_050,
    "names_validation": 130,
    "names_test": 110,
    "longest_name": 6,
    "mean_length": 4.52,
    "unknown_validation": 0,
    "unknown_test": 0,
    "several_categories": 0,
    "familiar_test": 0,
    "case_kept": 0.975,
}
HOSTILE = [
    "a|b",
    "`tick",
    "tick`",
    "``two`` and ```three",
    "<script>alert(1)</script>",
    "[a](https://example.invalid)",
    "@everyone",
    "#1",
    "**bold** _it_",
    "|---|",
]
FIGURES = {
    # 3 bits per character, and the n-gram 4.
    "perplexity": figure(8.0, 7.0, 9.0),
    "bits_per_char": figure(3.0, 2.8, 3.2),
    "network_perplexity": figure(9.0, 8.0, 10.0),
    "baseline_perplexity": figure(16.0, 12.0, 17.0),
    "gain_nats": figure(0.69, 0.3, 1.1),
    "network_gain_nats": figure(0.5, 0.2, 0.8),
    "memory_gain_nats": figure(0.9, 0.8, 1.0),
    "memorisation": figure(1.02, 0.98, 1.31),
    "novelty": figure(0.975),
    "length_wasserstein": figure(0.3, 0.2, 0.5, 0.4),
    "uniqueness_at_10k": figure(1.0),
}
