# The node for a Jetson Orin with JetPack 6. NOT BUILT OR RUN ON THE HARDWARE; see docs/jetson.md.
#
#   docker pull ros:humble-ros-base-jammy    # an image from before June 2025 has an expired key
#   docker build -f docker/jetson_orin.Dockerfile -t esr_ros:orin .
#   docker run --rm --network host --ipc host esr_ros:orin
#
# With the GPU, on a Humble that is built for JetPack 6. PyPI has no ONNX Runtime for this GPU: give
# NVIDIA's wheel for JetPack 6 and Python 3.10, as a URL, or as a file that lies in this clone.
#   docker build -f docker/jetson_orin.Dockerfile -t esr_ros:orin-gpu \
#     --build-arg BASE=dustynv/ros:humble-ros-base-l4t-r36.3.0 \
#     --build-arg ONNXRUNTIME=./onnxruntime_gpu-1.23.0-cp310-cp310-linux_aarch64.whl .
#   docker run --rm --runtime nvidia --network host --ipc host -v $PWD/models:/models esr_ros:orin-gpu \
#     ros2 run esr_ros emotion_node --ros-args --params-file config/jetson_orin.yaml \
#     -p provider:=cuda -p model:=/models/esr-9-fp16.onnx -r image_raw:=/camera/image_raw
#
# JetPack 6 is Ubuntu 22.04 with Python 3.10, for which ROS has packages: 'make setup' works on the
# board without a container as well.
ARG BASE=ros:humble-ros-base-jammy
FROM ${BASE}
ARG ONNXRUNTIME
ENV DEBIAN_FRONTEND=noninteractive

# dustynv's base has a ROS that is built from source, in install/, and an apt source of ROS whose key
# has expired.
RUN if [ -e /opt/ros/humble/install ]; then rm -f /etc/apt/sources.list.d/ros2.list; \
      else packages="ros-humble-vision-msgs ros-humble-hri-msgs ros-humble-foxglove-msgs"; \
    fi && apt-get update && apt-get install --no-install-recommends -y \
      git make g++ python3-venv python3-pip ${packages} \
    && rm -rf /var/lib/apt/lists/*
RUN printf '%s\n' \
      'for each in /opt/ros/humble/install/setup.bash /opt/ros/humble/setup.bash; do' \
      '  if [ -e "$each" ]; then source "$each"; break; fi' \
      'done' > /ros.bash

WORKDIR /esr_ros
COPY . .
SHELL ["/bin/bash", "-c"]
# That base also sets an index of wheels of its own, which is gone.
RUN source /ros.bash && env -u PIP_INDEX_URL -u PIP_EXTRA_INDEX_URL make setup
# Never both: onnxruntime and onnxruntime-gpu are one Python module.
RUN if [ -n "${ONNXRUNTIME}" ]; then \
      .venv/bin/pip uninstall -y onnxruntime \
      && env -u PIP_INDEX_URL -u PIP_EXTRA_INDEX_URL \
         .venv/bin/pip install --no-cache-dir "${ONNXRUNTIME}" numpy==1.26.4; \
    fi

ENV RMW_IMPLEMENTATION=rmw_fastrtps_cpp
# ros2 launch ends its nodes on SIGINT only; exec, so that it is the one that gets it.
STOPSIGNAL SIGINT
ENTRYPOINT ["/bin/bash", "-c", "source /ros.bash && source /esr_ros/env.sh && exec \"$@\"", "--"]
CMD ["ros2", "launch", "esr_ros", "jetson_orin.launch.py", "image_topic:=/camera/image_raw"]
