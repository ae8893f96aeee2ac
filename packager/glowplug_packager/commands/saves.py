"""When was a source file saved? A thread watches; one who is busy meanwhile learns of it afterwards."""

import os
import threading
from pathlib import Path
from types import TracebackType

from glowplug.errors import ConfigError

STEP_MS = 20  # editors write a file in several steps: wait until nothing came for so long
DEBOUNCE_MS = 80  # but no longer than this
END_S = 2.0
LOOK_S = 3600.0  # a wait without an end cannot be interrupted by a signal everywhere


class Saves:
    """The saves below one folder, from entering to leaving. Many of them during one wait count once.

    What is below `but` does not count: our own work there must not start the next.
    """

    def __init__(self, root: Path, but: Path) -> None:
        self._root = root.resolve()
        self._but = but.resolve()
        self._saved = threading.Event()
        self._stop = threading.Event()
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._watch, name="saves", daemon=True)

    def __enter__(self) -> "Saves":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(END_S)

    def wait(self) -> None:
        """Return when there was a save since the last return.

        Raises:
            ConfigError: This folder cannot be watched.
        """
        while not self._saved.wait(LOOK_S):
            pass
        self._saved.clear()  # before the files are read: a save from now on is one for the next time
        if self._error is not None:
            raise ConfigError(
                f"{self._root} cannot be watched: {self._error}",
                hint="keep the app in a folder of its own, or: sysctl fs.inotify.max_user_watches=524288",
            ) from self._error

    def _watch(self) -> None:
        from watchfiles import DefaultFilter, watch

        changes = watch(
            self._root,
            # Leaves out caches, .git and virtual environments too. It compares texts, hence the separator.
            watch_filter=DefaultFilter(ignore_paths=[f"{self._but}{os.sep}"]),
            debounce=DEBOUNCE_MS,
            step=STEP_MS,
            stop_event=self._stop,
            raise_interrupt=False,
        )
        try:
            for _ in changes:
                self._saved.set()
        except OSError as error:
            self._error = error
            self._saved.set()
