"""Whether a model takes the champion's place: a decision over values, without files or MLflow."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from nomosaurus.evaluation.estimate import Comparison
from nomosaurus.params import PromoteParams

FLOORS = {
    "gain_nats": "min_gain_nats",
    "novelty": "min_novelty",
    "validity": "min_validity",
    "uniqueness_at_10k": "min_uniqueness",
}
"""The figures of metrics/evaluate.json that have a floor, and the param that is it."""


@dataclass(frozen=True)
class Version:
    """A version of the registered model.

    Attributes:
        number: MLflow's, from 1.
        test_sha256: Of the test names that it was last judged on, as `names_sha256` gives it.
        commit: That it was trained from; empty if git did not know.
    """

    number: int
    model_sha256: str
    test_sha256: str
    commit: str


@dataclass(frozen=True)
class Challenger:
    """A version that wants to be champion, with what its run says of it.

    Attributes:
        dirty: Whether the checkout had changes that were not committed.
        figures: Of metrics/evaluate.json, at least those that have a floor.
    """

    version: Version
    dirty: bool
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Check:
    """One rule, whether it holds, and what was found."""

    rule: str
    passed: bool
    found: str


@dataclass(frozen=True)
class Verdict:
    """What was decided, and why.

    Attributes:
        champion: None where there is none yet.
        comparison: None where there is no champion, or nothing to compare.
        checks: All must have passed.
        dry_run: Whether the champion stays as it is, whatever the verdict.
    """

    registered_model: str
    challenger: Version
    champion: Version | None
    comparison: Comparison | None
    checks: list[Check]
    dry_run: bool = False

    @property
    def promoted(self) -> bool:
        """Whether the challenger becomes the champion."""
        return all(check.passed for check in self.checks)

    @property
    def summary(self) -> str:
        """The verdict and its reason in one line."""
        name = f"{self.registered_model} version {self.challenger.number}"
        if not self.promoted:
            failed = "; ".join(check.found for check in self.checks if not check.passed)
            return f"{name} is not promoted: {failed}"
        reason = self.checks[-1].found if self.champion else "it is the first, and above the floors"
        return f"{name} {'may become' if self.dry_run else 'is'} the champion: {reason}"

    @property
    def label(self) -> str:
        """The verdict in a few words, for a column of a table."""
        if self.promoted:
            return "may become champion" if self.dry_run else "champion"
        lacks = ", ".join(check.rule for check in self.checks if not check.passed)
        return f"not promoted: lacks {lacks}"

    def __str__(self) -> str:
        lines = [
            f"  {'passed' if check.passed else 'FAILED'}  {check.rule}: {check.found}"
            for check in self.checks
        ]
        return "\n".join([self.summary, *lines])

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        content = asdict(self)
        del content["dry_run"]
        named = {"promoted": self.promoted, "registered_model": self.registered_model}
        return named | {"summary": self.summary} | content

    def as_markdown(self) -> str:
        """For a pull request: the verdict, and a row a rule."""
        heading = "Not promoted"
        if self.promoted:
            heading = "To be promoted" if self.dry_run else "Promoted"
        text = f"### {heading}\n\n{self.summary}.\n\n| rule | | found |\n|---|---|---|\n"
        for check in self.checks:
            outcome = "passed" if check.passed else "**failed**"
            found = check.found.replace("|", "\\|")
            text += f"| {check.rule} | {outcome} | {found} |\n"
        return text


def decide(
    challenger: Challenger,
    champion: Version | None,
    comparison: Comparison | None,
    num_learnt: int,
    rules: PromoteParams,
    *,
    other_test: bool = False,
) -> Verdict:
    """Hold the challenger against every rule.

    Args:
        challenger: Who wants to be champion.
        champion: Who is, if anyone.
        comparison: None where the two are not to be compared.
        num_learnt: Test names that one of the two learnt from.
        rules: The section `promote` of params.yaml.
        other_test: Whether the champion may have been judged on other test names.
    """
    version = challenger.version
    checks = [_commit(challenger)]
    checks += [
        _floor(figure, challenger.figures.get(figure), getattr(rules, floor), floor)
        for figure, floor in FLOORS.items()
    ]
    learnt = f"{num_learnt:,} test names are among those that a model learnt"
    checks.append(Check("test names nobody learnt", num_learnt == 0, learnt))
    if champion:
        if champion.model_sha256 == version.model_sha256:
            checks.append(Check("another model", False, "this very model is the champion already"))
        else:
            checks.append(_same_test(version, champion, other_test=other_test))
            if comparison:
                checks.append(_gain(comparison, champion, rules.margin_nats))
    return Verdict(rules.registered_model, version, champion, comparison, checks)


def _commit(challenger: Challenger) -> Check:
    commit = challenger.version.commit
    found = f"trained from commit {commit[:7]}"
    if not commit:
        found = "its run names no commit to come back to"
    elif challenger.dirty:
        found += " with changes that were not committed"
    return Check("a clean commit", bool(commit) and not challenger.dirty, found)


def _floor(figure: str, value: float | None, floor: float, param: str) -> Check:
    rule = f"{figure} at least {floor:g}"
    if value is None:
        return Check(rule, False, f'its run has no {figure}; "dvc repro" evaluates and tracks it')
    found = f"{figure} is {value:.4f}"
    if value < floor:
        found += f", below promote.{param}, {floor:g}"
    return Check(rule, value >= floor, found)


def _same_test(version: Version, champion: Version, *, other_test: bool) -> Check:
    ours, theirs = version.test_sha256[:8], champion.test_sha256[:8]
    rule = "the champion's test names"
    if version.test_sha256 == champion.test_sha256:
        return Check(rule, True, f"both have test list {ours}")
    found = f"the champion was judged on test list {theirs}, and this checkout has {ours}"
    return Check(rule, other_test, found + (", which was allowed" if other_test else ""))


def _gain(comparison: Comparison, champion: Version, margin: float) -> Check:
    gain = comparison.gain
    rule = f"a gain above {margin:g} nats per character"
    found = (
        f"against version {champion.number} it saves {gain.value:.4f} nats per character "
        f"({comparison.challenger:.4f} against {comparison.champion:.4f}) on the same "
        f"{comparison.names:,} test names"
    )
    if gain.low is None:
        return Check(rule, False, f"{found}, too few names to tell that from chance")
    found += f", 95 % interval {gain.low:.4f} to {gain.high:.4f}"
    passed = gain.low > margin
    if not passed:
        found += f", which is not above {margin:g}"
    return Check(rule, passed, found)
