"""Annotations that were stopped in the middle, and continue."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import time
import tracemalloc
from pathlib import Path
from typing import Any, Dict, List

import bags
import pytest
from annotation import SIDES, Stopping
from commands import esr, refusal, report

from esr_core.pipeline import EmotionPipeline, PipelineOptions
from esr_ros.annotation.annotate import AnnotationJob, AnnotationReport, annotate
from esr_ros.bags.cdr import COMPRESSED
from esr_ros.bags.reader import BagReader
from esr_ros.bags.writer import BagWriter
from esr_ros.demo.scene import Scene

#: Long enough to be stopped in the middle.
LONG = Scene(((8.0, 1),), rate_hz=30.0)


@pytest.fixture(scope="session")
def long_walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bags.recorded(tmp_path_factory.mktemp("long") / "long", LONG)


@pytest.fixture(scope="session")
def long_answers(long_walk: Path) -> Any:
    report(esr(long_walk.parent, "annotate", long_walk, "-o", "whole", "--json"))
    return bags.answers(long_walk.parent / "whole")


@pytest.fixture(scope="session")
def tracked_answers(long_walk: Path) -> Any:
    """With a detection in every fifth image."""
    words = ("annotate", long_walk, "-o", "tracked", "--detect-every", 5, "--json")
    report(esr(long_walk.parent, *words))
    return bags.answers(long_walk.parent / "tracked")


def test_going_on_with_two_cameras(both: Path, tmp_path: Path) -> None:
    """Only the images of each camera since its last detection are analyzed again."""
    with BagReader(both) as bag, BagWriter(tmp_path / "bag", "mcap") as writer:
        made = {each.topic: writer.offer(each.topic, COMPRESSED) for each in bag.connections}
        for number, (connection, time_ns, data) in enumerate(bag.messages(bag.connections)):
            for spoilt in range(1 + 40 * (number == 21)):
                writer.put(made[connection.topic], time_ns, b"" if spoilt else data)
    options = PipelineOptions(detect_every=4)
    pipeline = EmotionPipeline(options)
    job = AnnotationJob(options, SIDES, resume=True)

    def run(output: str, executor: Stopping) -> AnnotationReport:
        return annotate(tmp_path / "bag", tmp_path / output, job, pipeline, executor)

    run("whole", Stopping(pipeline))
    with pytest.raises(KeyboardInterrupt):
        run("out", Stopping(pipeline, 9))
    summary = run("out", executor := Stopping(pipeline))
    assert (summary.resumed, summary.images, summary.undecodable) == (7 * 8, 124, 40)
    again = executor.given[0]
    assert 2 <= len(again) <= 2 * 4
    assert all(image.data for image in again)
    assert bags.content(tmp_path / "out") == bags.content(tmp_path / "whole")


def test_images_of_an_earlier_run_are_not_kept(tmp_path: Path) -> None:
    """Also where none can be decoded."""
    with BagWriter(tmp_path / "bag", "mcap") as writer:
        topic = writer.offer("/image_raw", "sensor_msgs/msg/Image")
        for number in range(14 * 8):
            writer.put(topic, 10**18 + number * 10**8, bytes(10**6))
    pipeline = EmotionPipeline()
    job = AnnotationJob(pipeline.options, originals=False, resume=True)

    def run(executor: Stopping) -> AnnotationReport:
        return annotate(tmp_path / "bag", tmp_path / "out", job, pipeline, executor)

    with pytest.raises(KeyboardInterrupt):
        run(Stopping(pipeline, 13))
    tracemalloc.start()
    assert run(Stopping(pipeline)).resumed == 11 * 8
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 50e6


@pytest.mark.parametrize("flip", [0.1, 0.9])
def test_another_bag_of_the_same_name_and_size(walk: Path, tmp_path: Path, flip: float) -> None:
    """Done or half done, nothing of one bag is taken for another's."""
    pipeline = EmotionPipeline()
    job = AnnotationJob(pipeline.options, resume=True)
    annotate(walk, tmp_path / "done", job, pipeline, Stopping(pipeline))
    with pytest.raises(KeyboardInterrupt):
        annotate(walk, tmp_path / "half", job, pipeline, Stopping(pipeline, 5))
    other = bags.damaged(walk, tmp_path / "other", flip=flip)
    for output, error in {"done": "done was made", "half": "half.part: was started"}.items():
        words = ("annotate", other, "-o", output, "--resume")
        assert f"{error} with another bag;" in refusal(esr(tmp_path, *words))


class Run:
    """A run that is stopped in the middle."""

    def __init__(self, folder: Path, *words: object) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            ["esr", "annotate", *(str(word) for word in words)],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for_log(self, staging: str = "out.part", size: int = 20_000) -> None:
        log = self.folder / staging / "journal"
        deadline_s = time.monotonic() + 180
        while not log.exists() or log.stat().st_size < size:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline_s
            time.sleep(0.01)

    def children(self) -> List[int]:
        """All processes below it."""
        parents = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                after_name = stat.read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents[int(stat.parent.name)] = int(after_name[1])
        below = [self.process.pid]
        for each in below:
            below += [child for child, parent in parents.items() if parent == each]
        return below[1:]

    def summary(self) -> Dict[str, Any]:
        out, err = self.process.communicate(timeout=120)
        assert self.process.returncode == 0, err
        summary: Dict[str, Any] = json.loads(out)
        return summary


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("detect_every", [1, 5])
def test_a_run_that_was_stopped_goes_on(
    long_walk: Path,
    tmp_path: Path,
    long_answers: Any,
    tracked_answers: Any,
    signal_number: int,
    detect_every: int,
) -> None:
    words = [long_walk, "-o", "out", "--detect-every", detect_every]
    run = Run(tmp_path, *words)
    run.wait_for_log()
    run.process.send_signal(signal_number)
    err = run.process.communicate(timeout=60)[1]
    assert run.process.returncode == (130 if signal_number == signal.SIGINT else -9)
    if signal_number == signal.SIGINT:
        assert (
            err.splitlines()[-1]
            == "esr annotate: stopped; the same command with --resume continues"
        )
        assert [each.name for each in (tmp_path / "out.part").iterdir()] == ["journal"]
    assert not (tmp_path / "out").exists()
    error = refusal(esr(tmp_path, "annotate", *words))
    assert "out.part is left of an earlier run; continue with --resume" in error
    error = refusal(esr(tmp_path, "annotate", *words, "--resume", "--min-score", 0.7))
    assert "was started with another min_score" in error
    done = report(esr(tmp_path, "annotate", *words, "--resume", "--json"))
    assert 40 < done["resumed"] < LONG.frames
    assert [each.name for each in tmp_path.iterdir()] == ["out"]
    at_once = long_answers if detect_every == 1 else tracked_answers
    assert bags.answers(tmp_path / "out") == at_once


@pytest.mark.parametrize("executor", [["--jobs", "2"], ["--engine", "ray"]], ids=["jobs", "ray"])
def test_a_worker_that_dies_is_replaced(
    long_walk: Path, tmp_path: Path, long_answers: Any, executor: List[str]
) -> None:
    run = Run(tmp_path, long_walk, "-o", "out", "--json", *executor)
    run.wait_for_log()
    killed = 0
    for child in run.children():
        command = Path(f"/proc/{child}/cmdline").read_bytes()
        # Python's own processes, or Ray's workers at this task; not the cluster's servants.
        is_worker = b"spawn_main" in command or b"ray::analyze_batch" in command
        if is_worker and killed == 0:
            os.kill(child, signal.SIGKILL)
            killed += 1
    assert killed == 1
    assert run.summary()["answered"] == LONG.frames
    assert bags.answers(tmp_path / "out") == long_answers


def test_a_worker_that_dies_over_a_bag_of_several_is_replaced(
    long_walk: Path, tmp_path: Path, long_answers: Any
) -> None:
    bags.recorded(tmp_path / "short", Scene(((0.5, 1),), rate_hz=10.0))
    run = Run(tmp_path, long_walk, "short", "-o", "results", "--engine", "ray", "--json")
    run.wait_for_log("results/long_emotions.part")
    workers = [
        child
        for child in run.children()
        if b"ray::_annotate_one" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
    assert workers
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    _, error = run.process.communicate(timeout=180)
    assert run.process.returncode == 0, error
    assert bags.answers(tmp_path / "results" / "long_emotions") == long_answers


def test_only_one_run_at_a_time(long_walk: Path, tmp_path: Path) -> None:
    run = Run(tmp_path, long_walk, "-o", "out")
    run.wait_for_log()
    error = refusal(esr(tmp_path, "annotate", long_walk, "-o", "out", "--resume"))
    assert "another run is writing this annotation" in error
    run.process.send_signal(signal.SIGTERM)
    run.process.communicate(timeout=180)
    assert run.process.returncode == 130


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_a_full_disk(long_walk: Path, tmp_path: Path, storage: str) -> None:
    """By a limit on the size of files, which fails in the same places."""
    done = subprocess.run(
        ["esr", "annotate", str(long_walk), "-o", "out", "--storage", storage],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (8 << 20, 8 << 20)),
    )
    error = refusal(done)
    assert "out" in error
    assert "--resume" in error
    assert [each.name for each in (tmp_path / "out.part").iterdir()] == ["journal"]
    words = ("annotate", long_walk, "-o", "out", "--storage", storage, "--resume", "--json")
    assert report(esr(tmp_path, *words))["resumed"] > 40
