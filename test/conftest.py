"""What all tests share: a ROS domain of their own, their order, and that a Ctrl-C is heard."""

import os
import signal

import pytest

#: The files that take longest. Begun last, one of them would leave the other workers without work.
LONG = (
    # Two that wait more than they compute beside one that computes.
    *("test_node_benchmark.py", "test_stamps.py", "test_bench.py", "test_replay.py"),
    *("test_trainer.py", "test_learner.py", "test_resume.py", "test_emotion_node.py"),
    *("test_annotate.py", "test_faults.py", "test_lifecycle.py", "test_distributed.py"),
    *("test_dashboard.py", "test_early_exit.py", "test_player.py", "test_photo_camera.py"),
    *("test_random_networks.py", "test_progress.py", "test_pose_publisher.py"),
    "test_train_your_own.py",
)

# Several workers share two cores: threads of PyTorch would wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Before rclpy is imported, and inherited by every process that a test starts: two runs on one
# network must not hear each other.
os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"

# Started in the background, a shell's child has it switched off, and so have its own.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: "list[pytest.Item]") -> None:
    """Begin with the files that take longest; `make test` keeps this order."""
    places = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONG)))
