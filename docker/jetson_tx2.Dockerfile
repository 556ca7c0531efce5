# The node for a Jetson TX2 with JetPack 4.6. NOT BUILT OR RUN ON THE HARDWARE; see docs/jetson.md.
#
#   docker pull ros:humble-ros-base-jammy    # an image from before June 2025 has an expired key
#   docker build -f docker/jetson_tx2.Dockerfile -t esr_ros:tx2 .
#   docker run --rm --network host --ipc host esr_ros:tx2
#
# JetPack 4.6 is Ubuntu 18.04 with Python 3.6, older than what this package runs on. So this is
# Ubuntu 22.04 with ROS's own Humble image for arm64, and ONNX Runtime on the CPU: no build of ONNX
# Runtime is both for Python 3.10 and for the TX2's CUDA 10.2.
FROM ros:humble-ros-base-jammy

RUN apt-get update && apt-get install --no-install-recommends -y \
      git make g++ python3-venv python3-pip \
      ros-humble-vision-msgs ros-humble-hri-msgs ros-humble-foxglove-msgs \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /esr_ros
COPY . .
SHELL ["/bin/bash", "-c"]
RUN source /opt/ros/humble/setup.bash && make setup

ENV RMW_IMPLEMENTATION=rmw_fastrtps_cpp
# ros2 launch ends its nodes on SIGINT only; exec, so that it is the one that gets it.
STOPSIGNAL SIGINT
ENTRYPOINT ["/bin/bash", "-c", "source /opt/ros/humble/setup.bash && source /esr_ros/env.sh && exec \"$@\"", "--"]
CMD ["ros2", "launch", "esr_ros", "jetson_tx2.launch.py", "image_topic:=/camera/image_raw"]
