"""Answers of this machine to a folder of inputs, to compare with those of another machine.

    python test/platforms/answers.py prepare FOLDER [valid.npz.xz]   # in a set-up clone
    python test/platforms/answers.py answer FOLDER ANSWERS.npz       # needs esr_core and its bags
    python test/platforms/answers.py compare ANSWERS.npz OTHER.npz

`prepare` makes the inputs: pictures, 64 faces (of FER+ where it is there, else views of the
pictures' faces) and bags in both storages, besides what reading a bag needs of ROS.
"""

import hashlib
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np

FACES = 64
#: Largest differences that count as equal; boxes in pixels.
BOUNDS = {"probabilities": 1e-4, "boxes": 0.05, "scores": 1e-4, "SHA-256": 0}


def prepare(folder, data=None):
    """Write the inputs."""
    import ament_index_python
    from ament_index_python.packages import get_package_share_directory
    from skimage.data import astronaut

    from esr_core.data import ferplus
    from esr_ros.demo.photo_bag import record
    from esr_ros.demo.scene import Scene

    root = Path(__file__).resolve().parents[2]
    cv2.imwrite(str(folder / "astronaut.png"), cv2.cvtColor(astronaut(), cv2.COLOR_RGB2BGR))
    shutil.copy(root / "docs/annotated.jpg", folder)
    if data:
        faces = ferplus.read(Path(data)).images
        faces = faces[:: len(faces) // FACES]
    else:
        print("no FER+: the 64 faces are views of one photograph")
        grey = cv2.cvtColor(astronaut(), cv2.COLOR_RGB2GRAY)
        views = [(x, y, s) for s in (96, 112, 128, 144) for x in range(4) for y in range(4)]
        cut = [grey[56 + 8 * y :, 148 + 8 * x :][:s, :s] for x, y, s in views]
        faces = np.stack([cv2.resize(face, (48, 48), interpolation=cv2.INTER_AREA) for face in cut])
    np.save(folder / "faces.npy", faces[:FACES])
    for storage in ("mcap", "sqlite3"):
        record(folder / storage, Scene(((0.2, 0), (0.4, 1), (0.4, 2)), 10.0), True, storage)
    shutil.copytree(root / "esr_ros", folder / "python/esr_ros")
    shutil.copytree(Path(ament_index_python.__file__).parent, folder / "python/ament_index_python")
    for package in ("builtin_interfaces", "std_msgs", "sensor_msgs", "geometry_msgs"):
        share = Path(get_package_share_directory(package))
        shutil.copytree(share / "msg", folder / "share" / package / "msg")
        marks = "ament_index/resource_index/packages"
        (folder / "share" / marks).mkdir(parents=True, exist_ok=True)
        shutil.copy(share.parent / marks / package, folder / "share" / marks)


def answer(folder, target):
    """Write this machine's answers to the inputs of a folder."""
    from esr_core import EmotionPipeline
    from esr_core.perception.preprocessing import whole
    from esr_ros.bags import cdr
    from esr_ros.bags.reader import BagReader
    from esr_ros.bags.writer import BagWriter

    found = {}
    pipeline = EmotionPipeline()
    batch = whole(list(np.load(folder / "faces.npy")), pipeline.model.metadata.input)
    for name, branches in (("adaptive", "adaptive"), ("all branches", 0)):
        count = FACES if branches else FACES // 4
        found[f"faces, {name}, probabilities"] = pipeline.model.predict(
            batch[:count], branches
        ).probabilities
    found["faces as prepared, SHA-256"] = _digest(batch.tobytes())

    def look(name, bgr):
        faces = pipeline.detector.detect(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), 256)
        found[f"{name}, boxes"], found[f"{name}, scores"] = faces.boxes, faces.scores
        pipeline.reset()
        seen = pipeline.step(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), 0.0)
        probabilities = np.array([each.probabilities for each in seen])
        found[f"{name}, probabilities"] = probabilities.reshape(-1, 8)

    for picture in sorted(folder.glob("*.[jp][pn]g")):
        look(picture.name, cv2.imread(str(picture)))
    for storage in ("mcap", "sqlite3"):
        copy = target.with_suffix("") / storage  # the bag holds the name of its file
        shutil.rmtree(copy, ignore_errors=True)
        copy.parent.mkdir(exist_ok=True)
        with BagReader(folder / storage) as bag, BagWriter(copy, storage) as writer:
            for number, (connection, time_ns, data) in enumerate(bag.messages(bag.connections)):
                writer.write(connection, time_ns, data)
                jpeg = cdr.read(data, connection.msgtype).data
                look(f"{storage}.{number}", cv2.imdecode(np.asarray(jpeg), cv2.IMREAD_COLOR))
        if storage == "mcap":  # SQLite's file holds its version
            (file,) = copy.glob("*.mcap")
            found["written bag, SHA-256"] = _digest(file.read_bytes())
    np.savez(target, **found)


def _digest(content):
    return np.frombuffer(hashlib.sha256(content).digest(), np.uint8)


def compare(ours, theirs):
    """Print the differences; return how many are too large."""
    ours, theirs = np.load(ours), np.load(theirs)
    assert ours.files == theirs.files
    groups, wrong = {}, 0
    for name in ours.files:
        what, kind = name.rsplit(", ", 1)
        here, there = ours[name], theirs[name]
        if here.shape != there.shape:
            print(f"  {name}: {len(here)} and {len(there)} faces")
            wrong += 1
            continue
        if kind == "probabilities":
            wrong += int((here.argmax(1) != there.argmax(1)).sum())
        apart = float(np.abs(here.astype(float) - there).max(initial=0))
        wrong += apart > BOUNDS[kind]
        group = f"pictures, {kind}" if kind in ("boxes", "scores") or "." in what else name
        count, most = groups.get(group, (0, 0.0))
        groups[group] = count + len(here), max(most, apart)
    for group, (count, most) in groups.items():
        kind = group.rsplit(", ", 1)[1]
        same = "equal" if most == 0 else f"at most {most:.2g} apart ({BOUNDS[kind]} allowed)"
        print(f"  {group}: {'' if kind == 'SHA-256' else f'{count} faces, '}{same}")
    return wrong


def main(mode, *arguments):
    """Run one of the three modes; return the exit code."""
    if mode == "prepare":
        prepare(Path(arguments[0]), *arguments[1:])
    elif mode == "answer":
        answer(Path(arguments[0]), Path(arguments[1]))
    else:
        return int(compare(*arguments) > 0)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
