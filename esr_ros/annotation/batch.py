"""The annotation of several bags, one after the other or spread over a cluster."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from esr_core.errors import EsrError, OptionError
from esr_core.options import unknown_names
from esr_core.pipeline import PipelineOptions
from esr_ros.annotation import executors
from esr_ros.annotation.annotate import AnnotationJob, AnnotationReport, annotate
from esr_ros.parameters import FOR_ALL, NodeOptions

#: A bag and its output.
Pair = Tuple[Path, Path]
#: The bag, the number of images processed, and of all images.
OnProgress = Callable[[Path, int, int], None]
#: The nodes in a parameter file whose parameters are read.
_NODES = ("/**", "/*", "emotion_node", "/emotion_node", "/**/emotion_node")


def annotate_all(
    job: AnnotationJob,
    pairs: Sequence[Pair],
    on_progress: OnProgress,
    jobs: Optional[int] = None,
    engine: str = "local",
    ray_address: str = "",
) -> Iterator[AnnotationReport]:
    """Yield the report of each bag; by default, threads of this process analyze the images.

    Of several bags, those that cannot be annotated have a report with ``error``.
    jobs: processes of this machine, from 1 to 1024. engine: local or ray. ray_address: of the
    cluster's head; empty: RAY_ADDRESS, else a cluster is started.
    Raises EsrError for invalid options, and for a single bag that cannot be annotated.
    """
    uses_ray, several = engine == "ray", len(pairs) > 1
    if jobs is not None and not 1 <= jobs <= 1024:
        raise OptionError(f"--jobs must be from 1 to 1024, but got {jobs}")
    if uses_ray and jobs:
        raise OptionError("--jobs is for this machine, --engine ray for a cluster; leave one out")
    if job.emotion_topic and len(job.topics) > 1:
        raise OptionError("--emotion-topic is for one --topic")
    if uses_ray and several:
        yield from _by_cluster(pairs, job, ray_address, on_progress)
        return
    if job.options.detect_every > 1 and (jobs or uses_ray):
        hint = "--jobs, or give several bags to --engine ray"
        flag = hint if jobs else "--engine, or give it several bags"
        raise OptionError(
            f"detect_every is {job.options.detect_every}, so each image of a bag depends on the "
            f"one before: leave out {flag}"
        )
    pipeline = executors.open_pipeline(job.options)
    if uses_ray:
        opened = executors.ray_executor(job.options, ray_address)
    elif jobs:
        opened = executors.process_executor(job.options, jobs)
    else:
        opened = executors.thread_executor(job.options, pipeline.model)
    with opened as executor:
        for pair in pairs:
            show = partial(on_progress, pair[0])
            work = partial(annotate, *pair, job, pipeline, executor, show)
            yield _attempted(pair, work) if several else work()


def _attempted(pair: Pair, work: Callable[[], AnnotationReport]) -> AnnotationReport:
    """Return the report of one bag of several; its error does not end the others."""
    bag, output = pair
    try:
        return work()
    except (EsrError, OSError) as error:
        reason = str(error).replace(f"{bag}: ", "", 1)
        return AnnotationReport(str(bag), str(output), error=reason)


def _by_cluster(
    pairs: Sequence[Pair], job: AnnotationJob, address: str, on_progress: OnProgress
) -> Iterator[AnnotationReport]:
    """Annotate each bag in one worker, which reads and writes a shared file system."""
    with executors.ray_cluster(address) as ray:
        task = ray.remote(num_cpus=1, max_retries=0)(_annotate_one)
        absolute = [(bag.resolve(), output.resolve()) for bag, output in pairs]
        waiting = {task.remote(*pair, job): (pair, 0) for pair in absolute}
        on_progress(pairs[0][0].parent, 0, len(pairs))
        while waiting:
            (ready,), _ = ray.wait(list(waiting), num_returns=1)
            pair, deaths = waiting.pop(ready)
            if deaths < executors.MOST_DEATHS and executors.has_died(ray, ready):
                # Another worker continues from the resume log.
                again = task.remote(*pair, replace(job, resume=True))
                waiting[again] = pair, deaths + 1
                continue
            yield _attempted(pair, partial(executors.ray_result, ray, ready))
            on_progress(pair[0].parent, len(pairs) - len(waiting), len(pairs))


def _annotate_one(path: Path, output: Path, job: AnnotationJob) -> AnnotationReport:
    pipeline = executors.open_pipeline(job.options)
    with executors.thread_executor(job.options, pipeline.model, workers=1) as executor:
        return annotate(path, output, job, pipeline, executor)


def pipeline_parameters(path: Path) -> Tuple[Dict[str, Any], List[str]]:
    """Return the pipeline's options in a parameter file of the node; OptionError if invalid.

    Also the names for nodes of all names that are unknown to this one, and ignored.
    """
    known = {each.name for each in fields(NodeOptions)}
    try:
        content = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
        nodes = {name: content[name]["ros__parameters"] for name in _NODES if name in content}
        values = {str(name): value for node in nodes.values() for name, value in node.items()}
        named = [node for node in nodes if node.rpartition("/")[2] not in FOR_ALL]
        own = {str(name) for node in named for name in nodes[node]}
    except OSError as error:
        raise OptionError(f"--params-file: {path}: {error.strerror}") from error
    except (YAMLError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise OptionError(f"--params-file: {path} is no parameter file of ROS ({error})") from error
    if not nodes:
        raise OptionError(f"--params-file: {path} has nothing for emotion_node")
    values = {k: v for k, v in values.items() if k != "use_sim_time" and "qos_overrides" not in k}
    ignored = sorted(values.keys() - known - own)
    unknown = unknown_names(values.keys() - {*ignored}, known)
    if unknown:
        raise OptionError(f"--params-file: unknown: {unknown}")
    checked = NodeOptions(**{name: values[name] for name in values if name in known})
    return {each.name: getattr(checked, each.name) for each in fields(PipelineOptions)}, ignored
