"""A program that saves models in a process of its own, kills that process at random moments, and looks at the file.

``python interrupted_saves.py FOLDER KILLS SEED`` prints how many of the kills came in the midst of a save.
"""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from minidl import Dense, Sequential


def main(folder, kills, seed):
    rng = np.random.default_rng(seed)
    path = folder / "model.npz"
    models = [Sequential([Dense(100)], input_shape=100, seed=seed) for seed in (0, 1)]
    contents = []
    for model in models:
        model.save(path)
        contents.append(path.read_bytes())
    interrupted = 0
    for _ in range(kills):
        saver = os.fork()
        if not saver:
            while True:
                for model in models:
                    model.save(path)
        time.sleep(rng.uniform(0, 0.02))
        os.kill(saver, signal.SIGKILL)
        os.waitpid(saver, 0)
        assert path.read_bytes() in contents, "neither the old file nor the new one"
        loaded = Sequential.load(path).parameters
        assert any((loaded == model.parameters).all() for model in models)
        for other in folder.iterdir():
            if other != path:  # half a file; kill -9 leaves no one to remove it
                interrupted += 1
                other.unlink()
    print(interrupted)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
