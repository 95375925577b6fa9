"""Threads that stand for the processes of an MPI program: a communicator for each, and the same work in all."""

import threading

import numpy as np


class Ended(BaseException):
    """What `Abort` raises here: MPI's ends the processes."""


class ThreadCommunicator:
    """What minidl needs of mpi4py's communicators, between threads of this process."""

    def __init__(self, rank, shared):
        self.rank, self.shared, self.calls, self.aborted = rank, shared, [], False

    def Get_rank(self):  # noqa: N802
        return self.rank

    def Get_size(self):  # noqa: N802
        return len(self.shared.values)

    def allgather(self, value):
        self.shared.values[self.rank] = value
        self.shared.barrier.wait()
        values = list(self.shared.values)
        self.shared.barrier.wait()
        return values

    def bcast(self, value, root=0):
        return self.allgather(value)[root]

    def Allreduce(self, sent, received):  # noqa: N802
        self.calls.append(sent.shape)
        arrays = self.allgather(np.array(sent))
        received[...] = sum(arrays[1:], start=arrays[0])

    def Abort(self, code):  # noqa: N802
        assert code
        self.aborted = True
        self.shared.barrier.abort()
        raise Ended


class _Shared:
    def __init__(self, size):
        self.values, self.barrier = [None] * size, threading.Barrier(size, timeout=60)


def together(work, size=2):
    """Return what ``work(communicator)`` returns or raises in each of so many threads."""
    shared, results = _Shared(size), [None] * size

    def run(rank):
        try:
            results[rank] = work(ThreadCommunicator(rank, shared))
        except BaseException as error:
            shared.barrier.abort()
            results[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
