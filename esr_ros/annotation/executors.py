"""Who looks at the images of a bag: threads of this process, other processes, or a cluster."""

from __future__ import annotations

import os
import queue
import signal
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import lru_cache
from multiprocessing import get_context
from typing import Any, List, NamedTuple, Protocol, Sequence

from esr_core.errors import EsrError, OptionError
from esr_core.inference.onnx_model import Model, load_model
from esr_core.pipeline import PipelineOptions
from esr_core.process import end_with_parent
from esr_ros.annotation.worker import AnalysisRecord, AnalysisWorker, RecordedImage

#: A batch at whose time workers died so often is what kills them.
MOST_DEATHS = 5


class ExecutorError(EsrError):
    """Workers that cannot be had, or that die."""


class Executor(Protocol):
    """Looks at batches of images, several at a time; what each shows does not depend on where.

    With ``detect_every`` above 1 an image depends on the one before in its stream, so only an
    engine with a single worker will do.
    """

    workers: int

    def submit(self, images: Sequence[RecordedImage]) -> Any:
        """Begin to look at a batch; returns what :meth:`result` takes."""

    def result(self, ticket: Any) -> List[AnalysisRecord]:
        """Wait for a batch."""

    def close(self) -> None:
        """Let the workers go; what they have not begun is dropped."""


class ThreadExecutor:
    """Threads of this process; the image's work is done by libraries that let others run."""

    def __init__(
        self, options: PipelineOptions, model: Model, keep_rgb: bool, workers: int = 0
    ) -> None:
        """model: shared by them. workers: 0: as many as there are cores."""
        self.workers = 1 if options.detect_every > 1 else workers or os.cpu_count() or 1
        self._keep_rgb = keep_rgb
        self._idle: queue.Queue[AnalysisWorker] = queue.Queue()
        for _ in range(self.workers):
            self._idle.put(AnalysisWorker(options, model))
        self._pool = ThreadPoolExecutor(self.workers, "watcher")

    def submit(self, images: Sequence[RecordedImage]) -> Future[List[AnalysisRecord]]:
        """Begin to look at images; returns a ticket."""
        return self._pool.submit(self._look, images)

    def _look(self, images: Sequence[RecordedImage]) -> List[AnalysisRecord]:
        watcher = self._idle.get()
        try:
            return watcher.look(images, self._keep_rgb)
        finally:
            self._idle.put(watcher)

    def result(self, ticket: Future[List[AnalysisRecord]]) -> List[AnalysisRecord]:
        """Wait for what a ticket's images show."""
        return ticket.result()

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(cancel_futures=True)


class _Ticket(NamedTuple):
    images: Sequence[RecordedImage]
    pool: ProcessPoolExecutor
    future: Future[List[AnalysisRecord]]


class ProcessExecutor:
    """Processes of this machine; one that dies is replaced, and what it had is done again."""

    def __init__(self, options: PipelineOptions, keep_rgb: bool, workers: int) -> None:
        _check_order(options, "leave out --jobs, or give several bags to --engine ray")
        self.workers = workers
        self._options = options
        self._keep_rgb = keep_rgb
        self._pool = self._start()

    def _start(self) -> ProcessPoolExecutor:
        # Not forked: the threads of ONNX Runtime and OpenCV would be missing in the copy.
        return ProcessPoolExecutor(self.workers, get_context("spawn"), _begin_worker)

    def submit(self, images: Sequence[RecordedImage]) -> _Ticket:
        """Begin to look at images; returns a ticket."""
        try:
            return self._submit(images)
        except BrokenProcessPool:
            self._replace(self._pool)
            return self._submit(images)

    def _submit(self, images: Sequence[RecordedImage]) -> _Ticket:
        pool = self._pool
        # Workers that are started here inherit it: a Ctrl-C of the terminal is for the parent.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            future = pool.submit(look, self._options, images, self._keep_rgb)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        return _Ticket(images, pool, future)

    def result(self, ticket: _Ticket) -> List[AnalysisRecord]:
        """Wait for what a ticket's images show; a process that died is replaced.

        Raises:
            ExecutorError: processes die again and again.
        """
        for _ in range(MOST_DEATHS):
            try:
                return ticket.future.result()
            except BrokenProcessPool:
                self._replace(ticket.pool)
                ticket = self.submit(ticket.images)
        raise ExecutorError(
            f"{MOST_DEATHS} workers died over the same {len(ticket.images)} images; is there too "
            "little memory? With fewer --jobs it needs less"
        )

    def _replace(self, broken: ProcessPoolExecutor) -> None:
        if broken is self._pool:  # else it has been replaced for another batch
            calls = getattr(broken, "_call_queue", None)
            broken.shutdown(wait=False, cancel_futures=True)
            # Up to Python 3.11.4 a thread of the pool would write to its dead workers for ever, and
            # this process never end (CPython issue 94777); without a reader it gives up.
            with suppress(AttributeError, OSError):
                calls._reader.close()  # type: ignore[union-attr]
            self._pool = self._start()

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown(cancel_futures=True)


class RayExecutor:
    """A Ray cluster (https://docs.ray.io), whose workers have this package installed."""

    def __init__(self, options: PipelineOptions, keep_rgb: bool, address: str = "") -> None:
        """address: of its head; empty: RAY_ADDRESS, else a cluster of this machine is started."""
        _check_order(options, "leave out --engine, or give it several bags")
        self._ray = start_ray(address)
        self.workers = max(int(self._ray.cluster_resources().get("CPU", 1)), 1)
        # A task whose worker dies is given to another one.
        self._look = self._ray.remote(num_cpus=1, max_retries=MOST_DEATHS)(look)
        self._options, self._keep_rgb = options, keep_rgb

    def submit(self, images: Sequence[RecordedImage]) -> Any:
        """Begin to look at images; returns a ticket."""
        return self._look.remote(self._options, images, self._keep_rgb)

    def result(self, ticket: Any) -> List[AnalysisRecord]:
        """Wait for what a ticket's images show.

        Raises:
            ExecutorError: the cluster failed.
        """
        try:
            sights: List[AnalysisRecord] = self._ray.get(ticket)
        except self._ray.exceptions.RayError as error:
            raise ExecutorError(f"the cluster failed: {last_line(error)}") from error
        return sights

    def close(self) -> None:
        """Leave the cluster."""
        self._ray.shutdown()


def start_ray(address: str = "") -> Any:
    """Connect to a cluster, or start one on this machine; returns the module.

    Raises:
        ExecutorError: Ray is not installed, or there is no cluster at that address.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ExecutorError("Ray is not installed; run \"pip install 'ray>=2.9'\"") from error
    try:
        ray.init(address or None, log_to_driver=False, include_dashboard=False, logging_level=40)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        raise ExecutorError(f"no Ray at {address or 'this machine'}: {last_line(error)}") from error
    return ray


def last_line(error: BaseException) -> str:
    """Return what an error with a long story comes down to."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def open_model(options: PipelineOptions) -> Model:
    """Load the network of the options for workers that share the cores."""
    alone = options.detect_every > 1
    threads = options.threads or (0 if alone else 1)
    return load_model(options.model or None, options.provider, threads)


def look(
    options: PipelineOptions, images: Sequence[RecordedImage], keep_rgb: bool
) -> List[AnalysisRecord]:
    """Look at images in a worker process, which keeps its network."""
    return _watcher(options).look(images, keep_rgb)


@lru_cache(maxsize=1)
def _watcher(options: PipelineOptions) -> AnalysisWorker:
    return AnalysisWorker(options, open_model(options))


def _begin_worker() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with suppress(OSError, AttributeError):  # not Linux
        end_with_parent()


def _check_order(options: PipelineOptions, way_out: str) -> None:
    if options.detect_every > 1:
        raise OptionError(
            f"detect_every is {options.detect_every}, so each image of a bag depends on the one "
            f"before: {way_out}"
        )
