# The node for a Jetson Thor, or an Orin with JetPack 7. NOT BUILT OR RUN ON THE HARDWARE; see
# docs/jetson.md.
#
#   docker build -f docker/jetson_thor.Dockerfile -t esr_ros:thor .
#   docker run --rm --network host --ipc host esr_ros:thor
#
# With the GPU, on NVIDIA's CUDA, with ONNX Runtime for it from PyPI:
#   docker build -f docker/jetson_thor.Dockerfile -t esr_ros:thor-gpu \
#     --build-arg BASE=nvcr.io/nvidia/cuda:13.0.0-cudnn-runtime-ubuntu24.04 \
#     --build-arg ONNXRUNTIME=onnxruntime-gpu==1.31.1 .
#   docker run --rm --runtime nvidia --network host --ipc host -v $PWD/models:/models esr_ros:thor-gpu \
#     ros2 run esr_ros emotion_node --ros-args --params-file config/jetson_thor.yaml \
#     -p provider:=cuda -p model:=/models/esr-9-fp16.onnx -r image_raw:=/camera/image_raw
#
# JetPack 7 is Ubuntu 24.04 with Python 3.12, for which ROS has packages of Jazzy: 'make setup' works
# on the board without a container as well, in a virtual environment.
ARG BASE=ros:jazzy-ros-base-noble
FROM ${BASE}
ARG ONNXRUNTIME
ARG ROS_APT_SOURCE=1.1.0
ENV DEBIAN_FRONTEND=noninteractive

# A base without ROS gets ROS's apt source.
RUN apt-get update && if [ ! -e /opt/ros/jazzy ]; then \
      apt-get install --no-install-recommends -y ca-certificates curl \
      && curl -fsSLo /tmp/ros.deb "https://github.com/ros-infrastructure/ros-apt-source/releases/download/${ROS_APT_SOURCE}/ros2-apt-source_${ROS_APT_SOURCE}.noble_all.deb" \
      && apt-get install -y /tmp/ros.deb && rm /tmp/ros.deb && apt-get update; \
    fi && apt-get install --no-install-recommends -y \
      git make g++ python3-venv python3-pip python3-colcon-common-extensions \
      ros-jazzy-ros-base ros-jazzy-vision-msgs ros-jazzy-hri-msgs ros-jazzy-foxglove-msgs \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /esr_ros
COPY . .
SHELL ["/bin/bash", "-c"]
RUN source /opt/ros/jazzy/setup.bash && make setup
# Never both: onnxruntime and onnxruntime-gpu are one Python module.
RUN if [ -n "${ONNXRUNTIME}" ]; then \
      .venv/bin/pip uninstall -y onnxruntime && .venv/bin/pip install --no-cache-dir "${ONNXRUNTIME}"; \
    fi

ENV RMW_IMPLEMENTATION=rmw_fastrtps_cpp
# ros2 launch ends its nodes on SIGINT only; exec, so that it is the one that gets it.
STOPSIGNAL SIGINT
ENTRYPOINT ["/bin/bash", "-c", "source /opt/ros/jazzy/setup.bash && source /esr_ros/env.sh && exec \"$@\"", "--"]
CMD ["ros2", "launch", "esr_ros", "jetson_thor.launch.py", "image_topic:=/camera/image_raw"]
