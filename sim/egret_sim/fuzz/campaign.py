"""Runs many drawn cases, on several processes, and sums up what came of them."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field

from egru import processes

from .check import Bench
from .comparison import Verdict
from .coverage import Counting, Coverage
from .draw import draw_case

#: Steps of a case whose network is not large.
STEPS = 2500


@dataclass(frozen=True)
class Result:
    """Case ``number`` of a seed: what it was, in one line, and what came of it. -1 was not drawn."""

    number: int
    description: str
    verdict: Verdict


@dataclass
class Totals:
    """Sums over the cases of a campaign. ``failed`` has the results that did not pass."""

    configurations: int = 0
    steps: int = 0
    values: int = 0
    cycles: int = 0
    failed: list[Result] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    coverage: Coverage = field(default_factory=Coverage)

    def add(self, result: Result) -> None:
        """Count a result."""
        verdict = result.verdict
        self.configurations += 1
        self.steps += verdict.steps
        self.values += verdict.values
        self.cycles += verdict.cycles
        for stage, spent in verdict.seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + spent
        if verdict.coverage:
            self.coverage.add(verdict.coverage)
        if not verdict.passed:
            self.failed.append(result)

    @property
    def passed(self) -> bool:
        """True if something was compared and nothing differed."""
        return self.values > 0 and not self.failed


def run_number(seed: int, number: int, steps: int, coverage: Counting = Counting.NOTHING) -> Result:
    """Draw one case and run it."""
    case = draw_case(seed, number, steps)
    with Bench(coverage=coverage) as bench:
        return Result(number, case.describe(), bench.check(case))


def run_campaign(
    totals: Totals,
    configurations: int,
    *,
    seed: int,
    first: int = 0,
    steps: int = STEPS,
    jobs: int = 1,
    coverage: Counting = Counting.NOTHING,
    stop_at_failure: bool = True,
    progress: Callable[[Result], None] | None = None,
) -> None:
    """Run cases ``first`` .. ``first + configurations - 1`` of a seed.

    Parameters
    ----------
    totals
        Takes the sums, case by case, so that an interrupted campaign leaves what it did.
    configurations, seed, first
        Which cases. The same ones are drawn whatever the other parameters are.
    steps
        Steps of a case; a large network gets fewer.
    jobs
        Processes at once.
    coverage
        What to count beside; see :class:`~egret_sim.fuzz.coverage.Counting`.
    stop_at_failure
        Start no further case after one that failed.
    progress
        Is called after every case.
    """
    for result in _results(range(first, first + configurations), seed, steps, jobs, coverage):
        totals.add(result)
        if progress:
            progress(result)
        if totals.failed and stop_at_failure:
            break


def _results(which: range, seed: int, steps: int, jobs: int, coverage: Counting) -> Iterator[Result]:
    numbers = iter(which)
    if jobs == 1:
        for number in which:
            yield run_number(seed, number, steps, coverage)
        return
    with ProcessPoolExecutor(jobs, initializer=processes.end_worker_on_signals) as pool:
        running: set[Future[Result]] = set()
        try:
            while True:
                while len(running) < jobs and (following := next(numbers, None)) is not None:
                    running.add(pool.submit(run_number, seed, following, steps, coverage))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except BaseException:  # an interrupt, or nobody wants more results
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
