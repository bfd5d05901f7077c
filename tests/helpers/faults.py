"""What goes wrong with disks and processes, made to happen: for the tests of faults.

    python tests/helpers/faults.py LIST OUT [warm]

is a pass in a process of its own, to be killed from outside; it says a number when it begins. With "warm" it first goes
through the same pass beside OUT, and the number is how many seconds that took.
"""

import errno
import io
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import small_pass

from jaxclip.files import whole
from jaxclip.runs import image_list


def child(pictures, out, warm=True):
    """A pass as another process that is about to begin, and about how many seconds it takes, if it was to find out."""
    command = [sys.executable, __file__, str(pictures), str(out), *["warm"][:warm]]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    said = process.stdout.readline()
    assert said, process.communicate(timeout=60)[1]
    return process, float(said)


def kill_after(process, seconds):
    """Kill a process, unless it ends before; whether it was killed."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
    _, said = process.communicate(timeout=60)
    assert process.returncode in (0, -signal.SIGKILL), said
    return process.returncode != 0


class Flaky(io.RawIOBase):
    """A file that writes short, one to a few bytes less than it was given, as systems may; and fails when told to."""

    def __init__(self, raw, fail):
        self.raw, self.fail = raw, fail

    def write(self, data):
        self.fail()
        data = memoryview(data).cast("B")
        return self.raw.write(data[: max(1, len(data) - 1 - len(data) // 3)])

    def close(self):
        self.raw.close()
        super().close()

    def __getattr__(self, name):
        return getattr(self.raw, name)

    def writable(self):
        return True

    def readable(self):
        return False

    def seekable(self):
        return True

    def seek(self, *where):
        return self.raw.seek(*where)

    def tell(self):
        return self.raw.tell()

    def truncate(self, size=None):
        return self.raw.truncate(size)

    def fileno(self):
        return self.raw.fileno()


class Count:
    """Raises an input/output error the n-th time it is called; None never does."""

    def __init__(self, n=None):
        self.n, self.calls = n, 0

    def __call__(self):
        self.calls += 1
        if self.calls == self.n:
            raise OSError(errno.EIO, os.strerror(errno.EIO))


@contextmanager
def faulty_writes(out, count):
    """Python's own writing below a folder: short, and failing when the counter says so."""
    with pytest.MonkeyPatch.context() as patch:
        fsync, replace = os.fsync, os.replace

        def flaky(opened):
            def open_(path):
                if not path.is_relative_to(out):
                    return opened(path)
                count()
                return Flaky(opened(path), count)

            return open_

        def counted(function):
            def call(*arguments):
                count()
                return function(*arguments)

            return call

        patch.setattr(whole, "create", flaky(whole.create))
        patch.setattr(image_list, "append", flaky(image_list.append))
        patch.setattr(os, "replace", counted(replace))
        patch.setattr(os, "fsync", counted(fsync))
        yield


@contextmanager
def small_disk(folder, size):
    """A file system of so many bytes at a folder, and how to give it more."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        yield lambda more: subprocess.run(["mount", "-o", f"remount,size={more}", folder], check=True)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def main(pictures, out, warm=""):
    clip, source = small_pass.clip(), small_pass.open_data(pictures)
    began = time.monotonic()
    with TemporaryDirectory(dir=Path(out).parent) as folder:
        if warm:
            small_pass.run_pass(clip, source, f"{folder}/run", small_pass.EVERYTHING, save_every=0.0)
    print(time.monotonic() - began, flush=True)
    small_pass.run_pass(clip, source, out, small_pass.EVERYTHING, save_every=0.0)


if __name__ == "__main__":
    main(*sys.argv[1:])
