"""Many bags, by whatever workers there are."""

from __future__ import annotations

import argparse
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Sequence, Tuple

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from esr_core.errors import OptionError
from esr_core.pipeline import EmotionPipeline, PipelineOptions
from esr_ros.annotation.annotate import AnnotationJob, AnnotationReport, annotate
from esr_ros.annotation.executors import (
    MOST_DEATHS,
    Executor,
    ExecutorError,
    ProcessExecutor,
    RayExecutor,
    ThreadExecutor,
    last_line,
    open_model,
    start_ray,
)
from esr_ros.parameters import NodeOptions

#: A bag and where its answers come.
Pair = Tuple[Path, Path]
#: Of which bag, how many images are done, of how many.
OnProgress = Callable[[Path, int, int], None]

#: Whose parameters a file may hold, for the node of that name.
_NODES = ("/**", "emotion_node", "/emotion_node", "/**/emotion_node")


def annotate_all(
    arguments: argparse.Namespace, given: Dict[str, Any], pairs: Sequence[Pair], show: OnProgress
) -> Iterator[AnnotationReport]:
    """Yield what became of each bag.

    arguments: of ``esr annotate``. given: the pipeline's options that stood there.

    Raises:
        EsrError: of the first bag that cannot be annotated.
    """
    options = PipelineOptions(**{**_of_file(arguments.params_file), **given})
    order = AnnotationJob(
        options,
        tuple(arguments.topic),
        arguments.emotion_topic,
        arguments.image,
        not arguments.without_originals,
        arguments.storage,
        arguments.overwrite,
        arguments.resume,
    )
    if order.emotion_topic and len(order.topics) > 1:
        raise OptionError("--emotion-topic is for one --topic")
    if arguments.engine == "ray" and arguments.jobs:
        raise OptionError("--jobs is for this machine, --engine ray for a cluster; leave one out")
    if arguments.engine == "ray" and len(pairs) > 1:
        yield from _by_cluster(pairs, order, arguments.ray_address, show)
        return
    pipeline = EmotionPipeline(options, model=open_model(options))
    engine: Executor
    if arguments.engine == "ray":
        engine = RayExecutor(options, bool(order.image), arguments.ray_address)
    elif arguments.jobs:
        engine = ProcessExecutor(options, bool(order.image), arguments.jobs)
    else:
        engine = ThreadExecutor(options, pipeline.model, bool(order.image))
    try:
        for bag, output in pairs:
            yield annotate(bag, output, order, pipeline, engine, partial(show, bag))
    finally:
        engine.close()


def _by_cluster(
    pairs: Sequence[Pair], order: AnnotationJob, address: str, show: OnProgress
) -> Iterator[AnnotationReport]:
    """Give each bag to a worker; it reads and writes where all see the same files."""
    ray = start_ray(address)
    try:
        # Told anew after the death of its worker, it goes on from the journal.
        task = ray.remote(num_cpus=1, max_retries=MOST_DEATHS)(_annotate_one)
        absolute = [(bag.resolve(), output.resolve()) for bag, output in pairs]
        waiting = {task.remote(*pair, order): pair[0] for pair in absolute}
        show(pairs[0][0].parent, 0, len(pairs))
        while waiting:
            (ready,), _ = ray.wait(list(waiting), num_returns=1)
            bag = waiting.pop(ready)
            try:
                yield ray.get(ready)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from None
            except ray.exceptions.RayError as error:
                raise ExecutorError(f"{bag}: the cluster failed: {last_line(error)}") from error
            show(bag.parent, len(pairs) - len(waiting), len(pairs))
    finally:
        ray.shutdown()


def _annotate_one(path: Path, output: Path, order: AnnotationJob) -> AnnotationReport:
    """Annotate a bag in a worker process with one thread."""
    pipeline = EmotionPipeline(order.options, model=open_model(order.options))
    engine = ThreadExecutor(order.options, pipeline.model, bool(order.image), 1)
    try:
        return annotate(path, output, order, pipeline, engine)
    finally:
        engine.close()


def _of_file(path: Any) -> Dict[str, Any]:
    """Return the pipeline's options of a parameter file.

    Raises:
        OptionError: there is no such file, it is none, or a parameter is wrong.
    """
    if path is None:
        return {}
    try:
        content = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
        nodes = [content[name]["ros__parameters"] for name in _NODES if name in content]
        values = {str(name): value for node in nodes for name, value in node.items()}
    except OSError as error:
        raise OptionError(f"--params-file: {path}: {error.strerror}") from error
    except (YAMLError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise OptionError(f"--params-file: {path} is no parameter file of ROS ({error})") from error
    if not nodes:
        raise OptionError(f"--params-file: {path} has nothing for emotion_node")
    values = {k: v for k, v in values.items() if k != "use_sim_time" and "qos_overrides" not in k}
    known = {each.name for each in fields(NodeOptions)}
    if set(values) - known:
        raise OptionError(f"--params-file: unknown: {', '.join(sorted(set(values) - known))}")
    checked = NodeOptions(**values)
    return {each.name: getattr(checked, each.name) for each in fields(PipelineOptions)}
