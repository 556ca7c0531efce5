"""The command `esr video`."""

from __future__ import annotations

import json
import os
import pty
import resource
import signal
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import videos
from commands import esr, refusal
from numpy.typing import NDArray

from esr_core.media.records import read_csv
from esr_core.media.video import VideoReader, open_writer


@pytest.fixture
def talk(tmp_path: Path, rgb: NDArray[np.uint8]) -> Path:
    return videos.write(tmp_path / "talk.mp4", videos.moved(rgb, 30))


def results(folder: Path, *arguments: object) -> list[dict[str, Any]]:
    done = esr(folder, "video", "--json", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_face_is_tracked_by_the_stamps_of_the_video(tmp_path: Path, talk: Path) -> None:
    found = results(tmp_path, talk.name)
    assert [each["frame"] for each in found] == list(range(30))
    np.testing.assert_allclose(
        [each["stamp_s"] for each in found], np.arange(30) / videos.RATE_HZ, atol=1e-5
    )
    assert {each["video"] for each in found} == {"talk.mp4"}
    faces = [face for each in found for face in each["faces"]]
    assert len(faces) == 30
    assert {(face["face_id"], face["label"]) for face in faces} == {(1, "happy")}
    assert faces[-1]["box"][0] - faces[0]["box"][0] == pytest.approx(58, abs=8)
    assert results(tmp_path, talk.name) == found


def test_csv_and_json_agree(tmp_path: Path, talk: Path) -> None:
    done = esr(tmp_path, "video", talk.name, "--csv", "new/talk.csv")
    assert done.stdout.endswith("\nnew/talk.csv\n")
    found = results(tmp_path, talk.name)
    frames = list(read_csv(tmp_path / "new" / "talk.csv"))
    assert [frame.number for frame in frames] == [each["frame"] for each in found]
    for frame, each in zip(frames, found):
        faces = [face.as_json() for face in frame.faces]
        assert (frame.source, faces) == ("talk.mp4", each["faces"])


def test_second_video_starts_with_new_tracks(tmp_path: Path, talk: Path) -> None:
    alone = results(tmp_path, talk.name)
    found = results(tmp_path, talk.name, talk.name)
    assert found[:30] == alone
    for first, second in zip(alone, found[30:]):
        for face in (*first["faces"], *second["faces"]):
            face["face_id"] -= 1 if face in second["faces"] else 0
    assert found[30:] == alone


def test_some_frames_only(tmp_path: Path, talk: Path) -> None:
    found = results(tmp_path, talk.name, "--every", 4, "--from", 0.5, "--to", 0.81)
    assert [each["frame"] for each in found] == [15, 19, 23]


def test_annotated_video_is_saved_and_not_overwritten(tmp_path: Path, talk: Path) -> None:
    done = esr(tmp_path, "video", talk.name, "--save", "new", "--every", 7)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("\nnew/talk.mp4\n")
    saved, video = VideoReader(tmp_path / "new" / "talk.mp4"), VideoReader(talk)
    assert (saved.rate_hz, saved.count) == (videos.RATE_HZ, 30)
    for frame, _ in zip(video, saved):
        before, after = video.rgb(), saved.rgb()
        assert after.shape == before.shape
        changed = (np.abs(after.astype(int) - before) > 60).any(axis=2).mean()
        assert 0.01 < changed < 0.3, frame
    assert frame.number == 29
    before = (tmp_path / "new" / "talk.mp4").read_bytes()
    save = ("video", talk.name, "--save", "new/talk.mp4")
    assert "new/talk.mp4 already exists; add --overwrite" in refusal(esr(tmp_path, *save))
    assert (tmp_path / "new" / "talk.mp4").read_bytes() == before
    assert esr(tmp_path, *save, "--overwrite").returncode == 0
    assert (tmp_path / "new" / "talk.mp4").read_bytes() != before
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["talk.mp4"]


def test_annotated_video_keeps_uneven_times(tmp_path: Path, rgb: NDArray[np.uint8]) -> None:
    stamps_s = [0.0, 0.04, 0.5, 0.54, 2.0, 6.8]
    with open_writer(tmp_path / "phone.mp4", 25) as writer:
        for stamp_s in stamps_s:
            writer.write(rgb, stamp_s)
    assert esr(tmp_path, "video", "phone.mp4", "--save", "all.mp4").returncode == 0
    read = [frame.stamp_s for frame in VideoReader(tmp_path / "all.mp4")]
    np.testing.assert_allclose(read, stamps_s, atol=1e-3)
    part = ("--save", "part.mp4", "--from", 0.5, "--every", 2)
    assert esr(tmp_path, "video", "phone.mp4", *part).returncode == 0
    read = [frame.stamp_s for frame in VideoReader(tmp_path / "part.mp4")]
    np.testing.assert_allclose(read, [0, 0.04, 1.5, 6.3], atol=1e-3)


def test_table_on_the_terminal(tmp_path: Path, talk: Path) -> None:
    videos.write(tmp_path / "grey.avi", [np.full((96, 96, 3), 128, np.uint8)] * 3, "MJPG")
    done = esr(tmp_path, "video", talk.name, "grey.avi")
    assert (done.returncode, done.stderr) == (0, "")
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    assert "talk.mp4: 30 frames, 1 face" in done.stdout
    (row,) = (line.split("│")[1:-1] for line in done.stdout.splitlines() if "happy" in line)
    assert [cell.strip() for cell in row] == ["1", "0.00", "0.97", "30", "happy 100%"]
    assert done.stdout.splitlines()[-1] == "grey.avi: 3 frames, no faces"


def test_readable_part_of_a_damaged_video_is_processed(
    tmp_path: Path, rgb: NDArray[np.uint8]
) -> None:
    videos.cut(videos.write(tmp_path / "half.avi", videos.moved(rgb, 30), "MJPG"), 0.5)
    done = esr(tmp_path, "video", "half.avi", "--json")
    last = json.loads(done.stdout.splitlines()[-1])
    at = f"its last frame is at {last['stamp_s']:.2f} s of 1.00 s"
    rest = "the rest is missing or damaged"
    assert refusal(done) == f"esr video: half.avi: {at}; {rest}"
    done = esr(tmp_path, "camera", "half.avi", "--json")
    assert refusal(done).endswith(rest)


def test_faces_beyond_the_limit_are_counted(tmp_path: Path, rgb: NDArray[np.uint8]) -> None:
    videos.write(tmp_path / "two.avi", [np.hstack([rgb, rgb])] * 4, "MJPG")
    flags = ("--max-faces", 1, "--detect-every", 2, "--json")
    note = "two.avi: 4 faces left out in 4 frames; max_faces is 1\n"
    for command in ("video", "camera"):
        done = esr(tmp_path, command, "two.avi", *flags)
        assert done.returncode == 0
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        assert {(len(each["faces"]), each["left_out"]) for each in answers} == {(1, 1)}
        if command == "video":
            assert done.stderr == f"esr video: {note}"
        else:
            assert done.stderr.startswith("esr camera: two.avi: ")


def test_one_bad_video_does_not_stop_the_others(tmp_path: Path, talk: Path) -> None:
    (tmp_path / "notes.mp4").write_text("no video", encoding="utf-8")
    done = esr(tmp_path, "video", "notes.mp4", talk.name, "gone.mp4", "--csv", "x.csv")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "esr video: notes.mp4: not a video that can be read, such as MP4, AVI or MKV",
        "esr video: gone.mp4: No such file or directory",
    ]
    assert {frame.source for frame in read_csv(tmp_path / "x.csv")} == {"talk.mp4"}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("gone.mp4", "--csv", "x.csv"), "gone.mp4: No such file or directory"),
        (("notes.mp4", "--save", "x"), "notes.mp4: not a video that can be read"),
        (
            ("talk.mp4", "--from", "9", "--csv", "x.csv"),
            "talk.mp4: no frame from 9 s on; it ends at ",
        ),
        (("talk.mp4", "--every", "0"), "--every must be 1 or more, but got 0"),
        (("talk.mp4", "--from", "2", "--to", "1"), "--from must be 0 or more and less than --to"),
        (("talk.mp4", "--save", "talk.mp4", "--overwrite"), "--save would overwrite talk.mp4"),
        (("talk.mp4", "--save", ".", "--overwrite"), "--save would overwrite talk.mp4"),
        (("talk.mp4", "--csv", "talk.mp4", "--overwrite"), "--csv would overwrite talk.mp4"),
        (("talk.mp4", "--csv", "notes.mp4"), "notes.mp4 already exists; add --overwrite"),
        (("talk.mp4", "notes.mp4", "--save", "x.mp4"), "--save x.mp4 takes one video"),
        (("talk.mp4", "./talk.mp4", "--save", "x"), "--save would write x/talk.mp4 twice"),
        (("talk.mp4", "--csv", "b.mp4", "--save", "b.mp4"), "--csv and --save would both write b"),
        (("talk.mp4", "--csv", "x", "--save", "x"), "--csv: x would be a file and a folder"),
        (("talk.mp4", "--csv", "/dev/full"), "/dev/full: No space left on device"),
        (("talk.mp4", "--csv", "notes.mp4/x.csv"), "notes.mp4: "),
        (("talk.mp4", "--save", "notes.mp4/x"), "notes.mp4/x: Not a directory"),
        (("talk.mp4", "--save", "/proc/1/x.mp4"), "/proc/1/x.mp4"),
        (("talk.mp4", "--model", "gone.onnx"), "gone.onnx: no such model file"),
    ],
)
def test_error_names_the_fault_and_nothing_remains(
    tmp_path: Path, talk: Path, arguments: tuple[str, ...], text: str
) -> None:
    (tmp_path / "notes.mp4").write_text("no video", encoding="utf-8")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    line = refusal(esr(tmp_path, "video", *arguments))
    assert line.startswith("esr video: ")
    assert text in line
    after = {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


def test_video_named_like_a_temporary_file_is_kept(tmp_path: Path, talk: Path) -> None:
    unfinished = talk.rename(tmp_path / "new.mp4.part.mp4")
    before = unfinished.read_bytes()
    done = esr(tmp_path, "video", unfinished.name, "--save", "new.mp4")
    assert (done.returncode, done.stderr) == (0, "")
    assert unfinished.read_bytes() == before
    assert VideoReader(tmp_path / "new.mp4").count == 30
    assert len(list(tmp_path.iterdir())) == 2


def test_full_disk_leaves_no_video(tmp_path: Path, talk: Path) -> None:
    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))

    done = subprocess.run(
        ["esr", "video", talk.name, "--save", "new.mp4"],
        cwd=tmp_path,
        preexec_fn=little_room,
        # `make coverage` would write its data, for which there is no room either.
        env={name: each for name, each in os.environ.items() if not name.startswith("COVERAGE")},
        capture_output=True,
        text=True,
    )
    assert refusal(done).endswith("new.mp4: could not be written to its end; is the disk full?")
    assert [path.name for path in tmp_path.iterdir()] == ["talk.mp4"]


def test_bar_is_on_the_terminal_and_json_in_the_pipe(tmp_path: Path, talk: Path) -> None:
    ours, theirs = pty.openpty()
    done = subprocess.run(
        ["esr", "video", talk.name, "--json"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
        check=True,
    )
    os.close(theirs)
    assert len([json.loads(line) for line in done.stdout.splitlines()]) == 30
    assert b"left" in os.read(ours, 1 << 16)
    os.close(ours)


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGINT, 130), (None, 128 + signal.SIGPIPE)])
def test_interruption_leaves_nothing(
    tmp_path: Path, rgb: NDArray[np.uint8], stop: signal.Signals | None, code: int
) -> None:
    videos.write(tmp_path / "long.mp4", [rgb[:256, 96:352]] * 900)
    command = ["esr", "video", "long.mp4", "--json", "--csv", "x.csv", "--save", "x.mp4"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        if stop:
            process.send_signal(stop)
            process.stdout.read()
        else:
            process.stdout.close()  # as `head -1` does
        assert process.stderr.read() == ("esr video: stopped\n" if stop else "")
        assert process.wait() == code
    assert [path.name for path in tmp_path.iterdir()] == ["long.mp4"]


def test_odd_size_that_an_mp4_lacks_is_reported(tmp_path: Path, rgb: NDArray[np.uint8]) -> None:
    assert cv2.imwrite(str(tmp_path / "odd.png"), rgb[:301, :303])
    done = esr(tmp_path, "video", "odd.png", "--save", "out.mp4")
    assert done.returncode == 0
    assert "odd.png: out.mp4 lacks the last column or row" in done.stderr
