"""The measurements, their medians and their ratios."""

from __future__ import annotations

import statistics
from typing import Any

from contestants.lineup import PEERS, Peer, Run, meaning
from contestants.workloads import Workload


class Results:
    """All measurements: for each workload and run, a list with an entry per round, or None if it failed."""

    def __init__(self, workloads: list[Workload], peers: list[Peer], about: dict[str, Any]) -> None:
        self.workloads, self.peers, self.about = workloads, peers, about
        self.rounds: dict[str, dict[str, list[dict[str, Any] | None]]] = {workload.name: {} for workload in workloads}
        self.errors: dict[str, dict[str, str]] = {workload.name: {} for workload in workloads}

    def seconds(self, workload: Workload, run_name: str) -> list[float | None]:
        """Return the time of each round: the median of its timings."""
        return [entry and statistics.median(entry["seconds"]) for entry in self.rounds[workload.name].get(run_name, [])]

    def best(self, workload: Workload, peer: Peer) -> tuple[str, float] | None:
        """Return the peer's fastest variant and its median over the rounds."""
        found = []
        for variant in peer.variants:
            name = Run(peer, variant).name
            if times := [seconds for seconds in self.seconds(workload, name) if seconds]:
                found.append((name, statistics.median(times)))
        return min(found, key=lambda pair: pair[1], default=None)

    def failed(self, workload: Workload, peer: Peer) -> bool:
        return any(Run(peer, variant).name in self.errors[workload.name] for variant in peer.variants)

    def ratio(self, workload: Workload, peer: Peer, of: Peer = PEERS[0]) -> float | None:
        """Return minidl's time, or the time of `of`, divided by the peer's: the median over the rounds."""
        own, other = self.best(workload, of), self.best(workload, peer)
        if own is None or other is None:
            return None
        pairs = zip(self.seconds(workload, own[0]), self.seconds(workload, other[0]), strict=False)
        ratios = [mine / theirs for mine, theirs in pairs if mine and theirs]
        return statistics.median(ratios) if ratios else None

    def last(self, workload: Workload, peer: Peer, key: str) -> Any:
        """Return an entry of the fastest variant's last round, such as "losses"."""
        best = self.best(workload, peer)
        entries = [entry for entry in self.rounds[workload.name][best[0]] if entry] if best else []
        return entries[-1].get(key) if entries else None

    def loss(self, workload: Workload, peer: Peer) -> float | None:
        """Return the training loss, the mean over all epochs, or None."""
        losses = self.last(workload, peer, "losses")
        return None if not losses or None in losses else statistics.mean(losses)

    def as_json(self) -> dict[str, Any]:
        return {
            "about": self.about,
            "workloads": {
                workload.name: {
                    **workload._asdict(),
                    "meaning": meaning(workload),
                    "peers": {
                        peer.name: {"variant": best[0], "seconds": best[1], "ratio": self.ratio(workload, peer)}
                        for peer in self.peers
                        if (best := self.best(workload, peer))
                    },
                    "rounds": self.rounds[workload.name],
                    "errors": self.errors[workload.name],
                }
                for workload in self.workloads
            },
        }
