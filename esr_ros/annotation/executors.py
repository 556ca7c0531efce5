"""The analysis of recorded images by threads of this process, other processes, or a cluster."""

from __future__ import annotations

import signal
import threading
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from multiprocessing import get_context
from typing import Any, Callable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from esr_core.errors import EsrError, ImageError
from esr_core.inference.onnx_model import Model, load_model
from esr_core.media.bit_depth import ValueRange, range_of
from esr_core.perception.stream_state import StreamState
from esr_core.pipeline import EmotionPipeline, FrameAnalysis, PipelineOptions, View
from esr_core.process import end_with_parent, usable_cores
from esr_ros.bags import cdr
from esr_ros.conversions.image_decoding import decode

#: Attempts at a batch whose workers die.
MOST_DEATHS = 5
#: Time in which a broken process pool cleans up by itself.
PATIENCE_S = 5.0
#: Errors of Ray where there is no cluster.
_UNREACHABLE = (OSError, RuntimeError, ValueError)


class RecordedImage(NamedTuple):
    """An image message of a bag."""

    type: str  # cdr.IMAGE or cdr.COMPRESSED
    data: bytes
    stream: Optional[StreamState] = None  # of its camera; None: independent of other images
    value_range: Optional[ValueRange] = None  # of pixels of 16 bits, by the images before

    def pixels(self, message: Any = None) -> NDArray[np.uint8]:
        """Return the pixels, RGB (h, w, 3) uint8; ImageError as :func:`decode`.

        message: the deserialized image, if it is there already.
        """
        message = message or cdr.read(self.data, self.type)
        return decode(message, lambda values: self.value_range or range_of(values))


class ImageHeader(NamedTuple):
    """The header of an image message."""

    sec: int
    nanosec: int
    frame_id: str


class AnalysisRecord(NamedTuple):
    """The analysis of one image, or the reason why it cannot be decoded."""

    header: ImageHeader
    shape: Tuple[int, int] = (0, 0)  # height, width in px
    analysis: Optional[FrameAnalysis] = None
    error: str = ""
    detected: bool = True  # by the detector, not tracked from the image before


Records = List[AnalysisRecord]
Images = Sequence[RecordedImage]


class ExecutorError(EsrError):
    """Workers that cannot be started, or that die repeatedly."""


class Executor(NamedTuple):
    """Analyzes several batches at a time; the records do not depend on the worker.

    ``submit`` starts a batch and returns the function that waits for its records. With
    ``detect_every`` above 1 an image depends on the one before in its stream, which takes an
    executor with a single worker.
    """

    workers: int
    submit: Callable[[Images], Callable[[], Records]]


def analyze(pipeline: EmotionPipeline, images: Images) -> Records:
    """Return the analysis of each image; all state is in the streams of the images."""
    return [_analyze(pipeline, each) for each in images]


def _analyze(pipeline: EmotionPipeline, image: RecordedImage) -> AnalysisRecord:
    header = ImageHeader(0, 0, "")
    try:
        message = cdr.read(image.data, image.type)
        stamp = message.header.stamp
        header = ImageHeader(int(stamp.sec), int(stamp.nanosec), str(message.header.frame_id))
        rgb = image.pixels(message)
    except (cdr.MessageError, ImageError) as error:
        return AnalysisRecord(header, error=str(error))
    stream = image.stream or StreamState()
    (analysis,) = pipeline.analyze([View(stream, rgb, 0.0)])
    detected = stream.flow_tracker.has_detected
    return AnalysisRecord(header, (rgb.shape[0], rgb.shape[1]), analysis, detected=detected)


@contextmanager
def thread_executor(options: PipelineOptions, model: Model, workers: int = 0) -> Iterator[Executor]:
    """Run threads that share a model; decoding, detection and network release Python's lock.

    workers: 0: the number of cores that the process may use.
    """
    workers = 1 if options.detect_every > 1 else workers or usable_cores()
    own = threading.local()

    def work(images: Images) -> Records:
        if not hasattr(own, "pipeline"):
            own.pipeline = EmotionPipeline(options, model=model)
        return analyze(own.pipeline, images)

    pool = ThreadPoolExecutor(workers, "analysis")
    try:
        yield Executor(workers, lambda images: pool.submit(work, images).result)
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def process_executor(options: PipelineOptions, workers: int) -> Iterator[Executor]:
    """Run processes of this machine; one that dies is replaced, and its batch is repeated."""
    # Not forked: the threads of ONNX Runtime and OpenCV would be missing in the copy.
    start = partial(ProcessPoolExecutor, workers, get_context("spawn"), _begin_worker)
    pool = start()

    def begin(images: Images) -> Optional[Future[Records]]:
        """Submit a batch; None if the pool is broken."""
        # Inherited by workers that are started here: Ctrl-C in a terminal is for the parent.
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            return pool.submit(analyze_batch, options, images)
        except (BrokenProcessPool, OSError):  # OSError: of its pipes, as its workers died
            return None
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])

    def result(
        images: Images, own: ProcessPoolExecutor, future: Optional[Future[Records]]
    ) -> Records:
        nonlocal pool
        for _ in range(MOST_DEATHS):
            with suppress(BrokenProcessPool, CancelledError):
                if future is not None:
                    return future.result()
            if own is pool:  # not replaced for another batch
                _end(pool)
                pool = start()
            own, future = pool, begin(images)
        raise ExecutorError(
            f"{MOST_DEATHS} workers died over the same {len(images)} images; is there too little "
            "memory? With fewer --jobs it needs less"
        )

    try:
        yield Executor(workers, lambda images: partial(result, images, pool, begin(images)))
    finally:
        pool.shutdown(cancel_futures=True)


def _end(broken: ProcessPoolExecutor) -> None:
    calls = getattr(broken, "_call_queue", None)
    manager = getattr(broken, "_executor_manager_thread", None)
    broken.shutdown(wait=False, cancel_futures=True)
    if manager is not None:
        # The pool's own thread closes its pipes. If they were closed here as well, or a new
        # pool were opened meanwhile, descriptors that are in use again could be closed.
        manager.join(PATIENCE_S)
        if manager.is_alive():
            # Up to Python 3.11.4 it writes to dead workers forever (CPython issue 94777);
            # without a reader it gives up.
            with suppress(AttributeError, OSError):
                calls._reader.close()  # type: ignore[union-attr]
            manager.join()


@contextmanager
def ray_executor(options: PipelineOptions, address: str) -> Iterator[Executor]:
    """Use a Ray cluster (https://docs.ray.io) whose workers have this package installed."""
    with ray_cluster(address) as ray:
        task = ray.remote(num_cpus=1, max_retries=MOST_DEATHS)(analyze_batch)
        workers = max(int(ray.cluster_resources().get("CPU", 1)), 1)
        yield Executor(workers, lambda batch: partial(ray_result, ray, task.remote(options, batch)))


@contextmanager
def ray_cluster(address: str) -> Iterator[Any]:
    """Connect to a cluster, or start one on this machine; yields the module ``ray``.

    address: of its head; empty: RAY_ADDRESS, else a cluster is started.
    Raises ExecutorError if Ray is not installed, or there is no cluster at that address.
    """
    try:
        import ray

        ray.init(address or None, log_to_driver=False, include_dashboard=False, logging_level=40)
    except ModuleNotFoundError as error:
        raise ExecutorError("Ray is not installed; run \"pip install 'ray>=2.9'\"") from error
    except BaseException as error:
        # Of a node that starts too slowly, Ray raises an Exception of no class of its own.
        if type(error) is not Exception and not isinstance(error, _UNREACHABLE):
            raise
        place = address or "this machine"
        raise ExecutorError(f"no Ray at {place}: {_last_line(error)}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def has_died(ray: Any, reference: Any) -> bool:
    """Return whether a task ended with its worker, without a result or an error of its own."""
    try:
        ray.get(reference)
    except ray.exceptions.RayTaskError:
        return False
    except ray.exceptions.RayError:
        return True
    return False


def ray_result(ray: Any, reference: Any) -> Any:
    """Return a task's result or raise its error; ExecutorError if the cluster failed."""
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        raise ExecutorError(f"the cluster failed: {_last_line(error)}") from error


def _last_line(error: BaseException) -> str:
    """Return the last line of an error's text, which has the cause in Ray's errors."""
    return str(error).strip().rpartition("\n")[2].strip() or type(error).__name__


def open_pipeline(options: PipelineOptions) -> EmotionPipeline:
    """Load the networks of the options for workers that share the cores."""
    threads = options.threads or (0 if options.detect_every > 1 else 1)
    model = load_model(options.model or None, options.provider, threads)
    return EmotionPipeline(options, model)


_kept_pipeline = lru_cache(maxsize=1)(open_pipeline)


def analyze_batch(options: PipelineOptions, images: Images) -> Records:
    """Analyze images in a worker process, which keeps its network."""
    return analyze(_kept_pipeline(options), images)


def _begin_worker() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with suppress(OSError, AttributeError):  # not Linux
        end_with_parent()
