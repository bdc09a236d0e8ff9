"""How a run finds its pruned head: the stages of each method, with their progress."""

from __future__ import annotations

import time

import numpy as np
from rich.console import Console

from evojax_prune import baselines
from evojax_prune.cli.progress import SearchWatch, stage
from evojax_prune.core.outcome import Outcome
from evojax_prune.methods import levels, pipeline
from evojax_prune.methods.pipeline import Problem
from evojax_prune.report.found import Found
from evojax_prune.run.folder import PartialFolder


def find(problem: Problem, partial: PartialFolder, console: Console) -> Found:
    """Find a pruned head by the configured method and train what it is compared with.

    Args:
        problem: what is pruned, on which data.
        partial: keeps the journal of a search.
        console: shows the progress.

    Raises:
        UserError: training diverged, or the journal is of another run.
    """
    by_search = problem.config.method == "search"
    if not by_search:
        partial.refuse_journal()
    found = _by_search(problem, partial, console) if by_search else _by_level(problem, console)
    if problem.config.compare:
        return found.compared(_baselines(problem, found.pruned, console))
    return found


def _by_search(problem: Problem, partial: PartialFolder, console: Console) -> Found:
    """A search over genomes, then its finalists against random masks by the same two protocols."""
    config, folds = problem.config, len(problem.splits)
    evaluator = pipeline.Evaluator(problem)
    dense_fitness = float(evaluator(problem.dense).fitness[0])

    began = time.monotonic()
    with stage(console, "search", config.evaluations, "evaluations", folds) as shown:
        watch = SearchWatch(shown)
        evaluator.advance = shown.advance
        search = pipeline.search(problem, evaluator, partial.journal, watch)
    seconds, reports = time.monotonic() - began, tuple(evaluator.reports)

    best = search.rows(pipeline.finalists(search.fitness, search.active, config.finalists))
    partial.kept = True
    with stage(console, "dense head and finalists", 1 + len(best), "heads", folds) as shown:
        heads = pipeline.refit(problem, np.concatenate([problem.dense, best]), shown.advance)
        shown.finish()
    dense, evolved = pipeline.best_outcome(heads[:1]), pipeline.best_outcome(heads[1:])

    masks = pipeline.random_genomes(
        int(evolved.genome.sum()), problem.genome_length, len(search), config.seed
    )
    with stage(console, "random masks", len(masks), "evaluations", folds) as shown:
        evaluator.advance = shown.advance
        fitness = evaluator(masks).fitness
        shown.finish()
    best = masks[pipeline.finalists(fitness, masks.sum(1), config.finalists)]
    with stage(console, "best random masks", len(best), "heads", folds) as shown:
        random = pipeline.best_outcome(pipeline.refit(problem, best, shown.advance))
        shown.finish()

    return Found(
        name="evolved",
        dense=dense,
        pruned=evolved,
        random=random,
        masks=len(masks),
        search=search,
        dense_fitness=dense_fitness,
        seconds=seconds,
        resumed=watch.resumed,
        reports=reports,
    )


def _by_level(problem: Problem, console: Console) -> Found:
    """Sensitivities of the dense head, then the most sensitive bits at one size or several."""
    config, folds = problem.config, len(problem.splits)
    began = time.monotonic()
    with stage(console, "dense head", 1, "heads", folds) as shown:
        fits = pipeline.final_fits(problem, problem.dense, shown.advance)
        shown.finish()
    dense = pipeline.best_outcome(pipeline.judged(problem, fits, problem.dense))

    genomes = levels.genomes(problem, pipeline.first_params(fits))
    with stage(console, "pruned heads", len(genomes), "heads", folds) as shown:
        tried = levels.train(problem, genomes, shown.advance)
        shown.finish()
    if config.keep == "auto":
        tried = tried.beside(dense, fits)
    chosen = tried.outcomes[levels.choose(tried.outcomes, problem)]
    seconds = time.monotonic() - began

    masks = pipeline.random_genomes(
        int(chosen.genome.sum()),
        problem.genome_length,
        len(tried.outcomes),
        config.seed,
    )
    with stage(console, "random masks", len(masks), "heads", folds) as shown:
        random = pipeline.best_outcome(pipeline.refit(problem, masks, shown.advance))
        shown.finish()

    return Found(
        name=levels.name(config),
        dense=dense,
        pruned=chosen,
        random=random,
        masks=len(masks),
        search=tried.as_search(config),
        dense_fitness=dense.selection,
        seconds=seconds,
        resumed=0,
        reports=(fits.report, tried.report),
    )


def _baselines(problem: Problem, pruned: Outcome, console: Console) -> list[baselines.BaselineRow]:
    """Other ways of pruning, on the terms of the head that was found."""
    config, folds = problem.config, len(problem.splits)
    at = problem.pruning.fractions(pruned.genome)
    heads = baselines.count_heads(
        problem.pruning, at, folds=folds, fractions=config.compare_fractions
    )
    with stage(console, "other ways of pruning", heads, "heads") as shown:
        rows = pipeline.compare(
            problem, pruned.genome, config.compare_fractions, advance=shown.advance
        )
        shown.finish()
    return [row for row in rows if row.at != "whole"]
