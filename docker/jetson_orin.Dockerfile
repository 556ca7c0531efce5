# The node for a Jetson Orin with JetPack 6, on its CPU. NOT BUILT OR RUN ON THE HARDWARE; see
# docs/jetson.md, also for the GPU.
#
#   docker pull ros:humble-ros-base-jammy    # an image from before June 2025 has an expired key
#   docker build -f docker/jetson_orin.Dockerfile -t esr_ros:orin .
#   docker run --rm --network host --ipc host esr_ros:orin
#
# JetPack 6 is Ubuntu 22.04 with Python 3.10, for which ROS has packages: 'make setup' works on the
# board without a container as well.
FROM ros:humble-ros-base-jammy

RUN apt-get update && apt-get install --no-install-recommends -y \
      git make g++ python3-venv python3-pip ros-humble-vision-msgs ros-humble-hri-msgs \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /esr_ros
COPY . .
SHELL ["/bin/bash", "-c"]
RUN source /opt/ros/humble/setup.bash && make setup

ENV RMW_IMPLEMENTATION=rmw_fastrtps_cpp
# ros2 launch ends its nodes on SIGINT only; exec, so that it is the one that gets it.
STOPSIGNAL SIGINT
ENTRYPOINT ["/bin/bash", "-c", "source /opt/ros/humble/setup.bash && source /esr_ros/env.sh && exec \"$@\"", "--"]
CMD ["ros2", "launch", "esr_ros", "jetson_orin.launch.py", "image_topic:=/camera/image_raw"]
