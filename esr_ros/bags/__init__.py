"""Reading, writing and recovering rosbag2 files."""
