"""Results as tables on the terminal, as files, and as a chart."""

from __future__ import annotations

import importlib.util
import json
import math
from itertools import zip_longest
from pathlib import Path

from contestants.lineup import BENCH_EXTRA, PEERS, Peer, meaning
from contestants.results import Results


def as_time(seconds: float) -> str:
    """Format a time with three digits and its unit: 1.23 s, 45.6 ms, 7.89 µs."""
    factor, unit = next(((f, u) for f, u in ((1, "s"), (1e3, "ms")) if seconds * f >= 1), (1e6, "µs"))
    value = seconds * factor
    return f"{value:.{max(0, 2 - int(math.log10(max(value, 1))))}f} {unit}"


def tables(results: Results) -> dict[str, list[list[str]]]:
    """Return tables by title: the times, and the ratios of minidl and of minidl with compiled code to the others."""
    rounds = results.about["rounds"]
    found = {f"Median time, {rounds} round{'s' * (rounds > 1)}": table(results)}
    for own in PEERS[:2]:
        if any(results.best(workload, own) for workload in results.workloads):
            found[f"{own.name}'s time / the peer's time: below 1, {own.name} is faster"] = table(results, own)
    return found


def table(results: Results, own: Peer | None = None) -> list[list[str]]:
    """Return rows of text: times, or the ratios of `own` to each peer. "-": it failed; empty: it did not take part."""
    shown = [
        peer
        for peer in results.peers
        if any(results.best(workload, peer) or results.failed(workload, peer) for workload in results.workloads)
    ]
    rows = [["", *(peer.name for peer in shown)]]
    for workload in results.workloads:
        row = [workload.name]
        for peer in shown:
            best = results.best(workload, peer)
            value = results.ratio(workload, peer, of=own) if own else best and best[1]
            if value is None:
                row.append("-" if results.failed(workload, peer) else "")
            else:
                row.append(f"{value:.2f}" if own else as_time(value))
        if any(row[1:]):
            rows.append(row)
    return rows


def print_table(title: str, rows: list[list[str]]) -> None:
    """Print aligned columns, with peers' names broken at hyphens; columns beyond 80 characters follow below."""
    header = zip_longest(*(name.replace("-", "- ").split() for name in rows[0]), fillvalue="")
    lines = [*header, *rows[1:]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(rows[0]))]
    parts: list[list[int]] = [[]]
    for column in range(1, len(widths)):
        if widths[0] + sum(2 + widths[each] for each in [*parts[-1], column]) > 80:
            parts.append([])
        parts[-1].append(column)
    print(f"\n{title}")
    for number, part in enumerate(parts):
        if number:
            print()
        for line in lines:
            cells = [f"{line[column]:>{widths[column]}}" for column in part]
            print("  ".join([f"{line[0]:<{widths[0]}}", *cells]).rstrip())


def as_markdown(rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|---" + "|---:" * (len(rows[0]) - 1) + "|", *lines[1:]])


def describe(results: Results) -> list[str]:
    """Return lines with the machine, the versions and the settings of the measurement."""
    about = results.about
    lines = [
        f"{about['processor']}, {about['cores']} cores; {about['system']}; Python {about['python']}",
        ", ".join(f"{name} {version}" for name, version in about["versions"].items()),
        f"Pixels: {about['pixels']}",
    ]
    if about["settings"]:
        lines.append("Environment: " + ", ".join(f"{name}={value}" for name, value in about["settings"].items()))
    return lines


def kernels(results: Results) -> str:
    """Return a line with the processor kernels of NumPy's BLAS; OPENBLAS_CORETYPE changes them."""
    found = {results.last(workload, PEERS[0], "kernels") for workload in results.workloads} - {None}
    return f"Kernels of NumPy's BLAS: {', '.join(sorted(found)) or 'not known'}"


def write(results: Results, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(results.as_json(), indent=1) + "\n")
    parts = [
        "# minidl and its peers",
        "\n".join(f"- {line}" for line in [*describe(results), kernels(results)]),
        *(f"{title}:\n\n{as_markdown(rows)}" for title, rows in tables(results).items()),
        "\n".join(f"- {workload.name}: {meaning(workload)}" for workload in results.workloads),
    ]
    (folder / "peers.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    if importlib.util.find_spec("matplotlib"):
        draw(results, folder / "peers.png")
    else:
        print(f"no chart: matplotlib is missing; {BENCH_EXTRA}")
    print(f"\nWritten: {folder}/")


def draw(results: Results, path: Path) -> None:
    """Save a panel of bars for each workload, the fastest on top; minidl is red, and gemm is pale."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    shown = [workload for workload in results.workloads if any(results.best(workload, p) for p in results.peers)]
    if not shown:
        return
    columns = min(2, len(shown))
    height = 0.9 + 0.27 * max(sum(results.best(workload, p) is not None for p in results.peers) for workload in shown)
    lines = math.ceil(len(shown) / columns)
    figure, axes = plt.subplots(
        lines, columns, figsize=(6.2 * columns, height * lines + 0.6), layout="constrained", squeeze=False
    )
    for ax in axes.flat[len(shown) :]:
        ax.axis("off")
    for ax, workload in zip(axes.flat, shown, strict=False):
        bars = [(best[1], peer) for peer in results.peers if (best := results.best(workload, peer))]
        bars.sort(key=lambda bar: bar[0])
        own = results.best(workload, PEERS[0])
        # Bars that are much longer than most are cut off, with a gap to show it; the others need the room.
        limit = min(bars[-1][0], 5 * bars[len(bars) // 2][0])
        for place, (seconds, peer) in enumerate(bars):
            floor = peer.name.startswith("gemm")
            colour = "#d1495b" if peer is PEERS[0] else "#d5d8dc" if floor else "#7f9bb3"
            ax.barh(place, min(seconds, limit), color=colour, height=0.72)
            text = as_time(seconds)
            if own and peer is not PEERS[0] and not floor:
                times = 1 / results.ratio(workload, peer)
                text += f"  ({times:.{2 if times < 1 else 1 if times < 10 else 0}f} x)"
            if seconds > limit:
                ax.barh(place, 0.012 * limit, left=0.93 * limit, color="white", height=0.8)
            ax.annotate(text, (min(seconds, limit), place), (4, 0), textcoords="offset points", va="center", fontsize=8)
        ax.set_yticks(range(len(bars)), [peer.name for _, peer in bars], fontsize=8.5)
        for label, (_, peer) in zip(ax.get_yticklabels(), bars, strict=True):
            label.set_fontweight("bold" if peer is PEERS[0] else "normal")
        ax.invert_yaxis()
        ax.set_xlim(0, limit * 1.35)
        ax.set_xticks([])
        ax.tick_params(left=False)
        ax.spines[["top", "right", "bottom"]].set_visible(False)
        ax.set_title(f"{workload.name}\n", loc="left", fontsize=11, fontweight="bold")
        ax.text(0, 1.02, meaning(workload), transform=ax.transAxes, fontsize=8.5, color="#555555", va="bottom")
    about = results.about
    figure.suptitle(
        "Time of minidl and its peers: shorter is faster; in brackets, the multiple of minidl's time\n"
        f"{about['processor']}, {about['cores']} cores, Python {about['python']}; gemm: only the matrix products",
        fontsize=10,
        x=0.01,
        ha="left",
    )
    figure.savefig(path, dpi=130)
    plt.close(figure)
