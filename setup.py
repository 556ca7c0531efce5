"""pip install of esr_core: the learner and the command `esr`, without ROS."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="esr_core",
    version="0.1.0",
    description="Facial emotions by Ensembles with Shared Representations",
    long_description=Path("esr_core/README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="The esr_ros developers",
    license="Apache-2.0 AND BSD-3-Clause",  # the code and the network; the face detector's weights
    license_files=["LICENSE", "models/yunet.md"],
    keywords="facial expression recognition, emotion, valence, arousal, ROS 2",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(8, 14)),
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
    python_requires=">=3.8",
    packages=[*find_packages(include=["esr_core", "esr_core.*"]), "esr_core.models"],
    package_dir={"esr_core.models": "models"},
    package_data={
        "esr_core": ["py.typed", "*/assets/*"],
        "esr_core.models": ["*.onnx", "*.md", "*.png"],
    },
    install_requires=[
        "numpy>=1.21",
        "opencv-python-headless>=4.5.4,<5",
        "onnxruntime>=1.11",
        "rich>=13",
        "pooch>=1.7",
    ],
    extras_require={
        "train": ["torch>=2.1", "onnx>=1.14", "matplotlib>=3.6", "PyYAML>=5.4"],
        "bags": [
            "rosbags>=0.11",
            "mcap>=1.2",
            "zstandard>=0.21",
            "apsw>=3.40",
            "ruamel.yaml>=0.18",
            'backports.zstd>=1.0; python_version < "3.14"',
        ],
        "ray": ["ray>=2.9"],
        "dashboard": ["aiohttp>=3.8"],
        "ros": ["ros-rclpy", "ros-rmw-fastrtps-cpp", "ros-sensor-msgs", "ros-diagnostic-msgs"],
    },
    entry_points={"console_scripts": ["esr = esr_core.cli:main"]},
)
