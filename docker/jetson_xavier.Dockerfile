# The node for a Jetson Xavier with JetPack 5.1. NOT BUILT OR RUN ON THE HARDWARE; see docs/jetson.md.
#
#   docker build -f docker/jetson_xavier.Dockerfile -t esr_ros:xavier .
#   docker run --rm --runtime nvidia --network host --ipc host esr_ros:xavier
#
# The base is Humble built for JetPack 5 (Ubuntu 20.04, Python 3.8). PyPI's ONNX Runtime for arm64 has
# the CPU only. For the GPU give NVIDIA's wheel for JetPack 5, of Python 3.8, as a URL, or as a file
# that lies in this clone:
#   --build-arg ONNXRUNTIME=https://…/onnxruntime_gpu-1.16.0-cp38-cp38-linux_aarch64.whl
#   --build-arg ONNXRUNTIME=./onnxruntime_gpu-1.16.0-cp38-cp38-linux_aarch64.whl
ARG BASE=dustynv/ros:humble-ros-base-l4t-r35.4.1
FROM ${BASE}
ARG ONNXRUNTIME=onnxruntime==1.16.3

WORKDIR /ws
COPY . src/esr_ros
SHELL ["/bin/bash", "-c"]
# NumPy 1.x: ROS's messages of Humble are built against it, and OpenCV 4.12 would want NumPy 2.
# scikit-image is for `esr bench --node`, whose camera shows a photograph of it. The base sets an index
# of wheels for Jetsons of its own, which need not have these.
RUN cd src/esr_ros && env -u PIP_INDEX_URL -u PIP_EXTRA_INDEX_URL python3 -m pip install --no-cache-dir \
      "numpy<1.25" "opencv-python-headless==4.11.0.86" "rich==13.9.4" "scikit-image==0.21.0" \
      "pooch==1.8.2" "aiohttp==3.10.11" "ruamel.yaml==0.18.6" "${ONNXRUNTIME}"

# Sourced from where this image has ROS, or from where ROS's own have it.
RUN printf '%s\n' \
      'for each in /opt/ros/humble/install/setup.bash /opt/ros/humble/setup.bash /ws/install/setup.bash; do' \
      '  if [ -e "$each" ]; then source "$each"; fi' \
      'done' \
      'PATH=/ws/install/esr_ros/lib/esr_ros:$PATH' > /ws/environment.bash
RUN source environment.bash && colcon build --packages-select esr_ros --cmake-args -DBUILD_TESTING=OFF

ENV RMW_IMPLEMENTATION=rmw_fastrtps_cpp
# ros2 launch ends its nodes on SIGINT only; exec, so that it is the one that gets it.
STOPSIGNAL SIGINT
ENTRYPOINT ["/bin/bash", "-c", "source /ws/environment.bash && exec \"$@\"", "--"]
CMD ["ros2", "launch", "esr_ros", "jetson_xavier.launch.py", "image_topic:=/camera/image_raw"]
