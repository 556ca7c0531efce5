# The node for a Jetson Thor, or an Orin with JetPack 7, on its CPU. NOT BUILT OR RUN ON THE HARDWARE;
# see docs/jetson.md, also for the GPU.
#
#   docker build -f docker/jetson_thor.Dockerfile -t esr_ros:thor .
#   docker run --rm --network host --ipc host esr_ros:thor
#
# JetPack 7 is Ubuntu 24.04 with Python 3.12, for which ROS has packages of Jazzy: 'make setup' works
# on the board without a container as well, in a virtual environment.
FROM ros:jazzy-ros-base-noble

RUN apt-get update && apt-get install --no-install-recommends -y \
      git make g++ python3-venv python3-pip ros-jazzy-vision-msgs ros-jazzy-hri-msgs \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /esr_ros
COPY . .
SHELL ["/bin/bash", "-c"]
RUN source /opt/ros/jazzy/setup.bash && make setup

ENV RMW_IMPLEMENTATION=rmw_fastrtps_cpp
# ros2 launch ends its nodes on SIGINT only; exec, so that it is the one that gets it.
STOPSIGNAL SIGINT
ENTRYPOINT ["/bin/bash", "-c", "source /opt/ros/jazzy/setup.bash && source /esr_ros/env.sh && exec \"$@\"", "--"]
CMD ["ros2", "launch", "esr_ros", "jetson_thor.launch.py", "image_topic:=/camera/image_raw"]
