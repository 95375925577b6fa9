"""Shared code of the benchmarks that start MPI processes."""

from __future__ import annotations

import os
import shutil
import sys

ENVIRONMENT = os.environ | {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # Open MPI needs these settings to run as root, and with more processes than cores.
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
}


def need_mpiexec() -> None:
    """End the program if no MPI is installed."""
    if shutil.which("mpiexec") is None:
        sys.exit("there is no mpiexec: install an MPI, such as Debian's openmpi-bin, and pip install -e '.[mpi]'")
