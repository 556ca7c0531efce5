"""What all tests share: a ROS domain of their own, and that a Ctrl-C is heard."""

import os
import signal

# Several workers share two cores: threads of PyTorch would wait for each other.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Before rclpy is imported, and inherited by every process that a test starts: two runs on one
# network must not hear each other.
os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"

# Started in the background, a shell's child has it switched off, and so have its own.
signal.signal(signal.SIGINT, signal.default_int_handler)
