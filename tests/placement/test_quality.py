"""The comparison on traces: which goals count as met, on figures by hand."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.quality import Case, Figures, summary, verdicts

SAME = Figures(10.0, 20.0, 1.0, 4.0, 30.0, 0.5, 1.5, 1.0, 0.1, 0.9, 0, 0.0, 1, 1.0, 1.0, 1.0, 0)


def met(**ours: float) -> dict[str, bool]:
    rows = {"aios": replace(SAME, **ours), "easy": SAME, "las": replace(SAME, wait_p99_h=3.0, rho_worst=2.0)}  # type: ignore[arg-type]
    return {verdict.goal: verdict.met for verdict in verdicts(rows, "aios")}


def test_each_figure_is_held_against_the_best_of_the_others() -> None:
    assert met() == {"mean JCT h": True, "p99 wait h": False, "worst rho": True, "mean JCT 20% under easy": False}


def test_a_fifth_less_than_backfill_is_asked_for() -> None:
    assert met(jct_h=8.0)["mean JCT 20% under easy"]
    assert not met(jct_h=8.1)["mean JCT 20% under easy"]


def test_half_a_per_cent_more_counts_as_the_same() -> None:
    assert met(wait_p99_h=3.01)["p99 wait h"]
    assert not met(wait_p99_h=3.02)["p99 wait h"]


def test_the_summary_counts_settings() -> None:
    results = {Case("t", load, "noisy", name): SAME for load in (0.6, 1.0) for name in ("aios", "easy")}
    assert "mean JCT h 2/2" in "\n".join(summary(results))
    assert "under easy 0/2" in "\n".join(summary(results))
