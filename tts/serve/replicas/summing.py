"""Metrics of several processes as those of one: what has the same name and labels is added up."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

GAUGE = "gauge"


def summed(processes: Iterable[Sequence[str]]) -> list[str]:
    """The sum of metrics, as lines of Prometheus' text format."""
    return _lines(*_families(processes))


def without_gauges(lines: Sequence[str]) -> list[str]:
    """What is left of the metrics of a process that has ended: its counts, so that no sum ever falls."""
    kinds, families = _families([lines])
    return _lines(kinds, {name: samples for name, samples in families.items() if GAUGE not in kinds[name][-1]})


def _families(processes: Iterable[Sequence[str]]) -> tuple[dict[str, list[str]], dict[str, dict[str, float]]]:
    """The comments of each metric, its type last, and its samples; in the order in which they come."""
    comments, families = dict[str, list[str]](), dict[str, dict[str, float]]()
    for lines in processes:
        name = ""
        for line in lines:
            if line.startswith("#"):
                name = line.split(" ", 3)[2]
                families.setdefault(name, {})
                if line not in comments.setdefault(name, []):
                    comments[name].append(line)
            elif line:
                sample, _, value = line.rpartition(" ")
                of = families.setdefault(name, {})
                of[sample] = of.get(sample, 0.0) + float(value)
    return comments, families


def _lines(comments: dict[str, list[str]], families: dict[str, dict[str, float]]) -> list[str]:
    found = list[str]()
    for name, samples in families.items():
        found += comments.get(name, [])
        found += [
            f"{sample} {value:.0f}" if value.is_integer() else f"{sample} {value:.6f}"
            for sample, value in samples.items()
        ]
    return found
