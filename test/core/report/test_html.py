"""The page of a recording: its data, and its appearance in a real browser."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any, Iterator

import cv2
import numpy as np
import pytest
from browser import Browser, program, running
from commands import esr, refusal
from numpy.typing import NDArray
from recordings import PARTS, Part, made_up, showing, write

from esr_core.emotions import LABELS
from esr_core.media.records import FaceRecord, FrameRecord
from esr_core.report.html import page
from esr_core.report.summary import Recording

HOSTILE = "</script><script>document.title='stolen'</script><!-- \"'&amp; ü 日本"
BLIPS: dict[int, Part] = {
    100 + i: ([(at, at + 0.01)], [(0, LABELS[i % 8])]) for i, at in enumerate(np.arange(30) / 31)
}


def hostile() -> Recording:
    """Two cameras, three faces that stay and thirty that pass, and names that want to be code."""
    left = made_up(source=HOSTILE + "left", parts={**PARTS, **BLIPS})
    right = made_up(40, 15, source="right/" + "long_name/" * 20, parts={1: PARTS[2]})
    return Recording(HOSTILE, [*left, *right], offered=3000, latencies_s=np.full(9, 0.0125))


def data_of(text: str) -> Any:
    """Return the input of the page's JavaScript."""
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    return json.loads(found)


def test_page_stands_alone() -> None:
    text = page(Recording("three faces", made_up()))
    assert text.isascii()
    assert text.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert "default-src 'none'" in text
    assert re.findall(r'(?:src|href)="(?!data:)', text) == []
    assert "@import" not in text
    assert set(re.findall(r"https?://[^\"]*", text)) == {"http://www.w3.org/2000/svg"}
    assert "<title>three faces</title>" in text


def test_values_reach_the_page() -> None:
    frames = [
        FrameRecord("camera", i, i / 10, (showing(7, "happy" if i < 5 else "sad", 0.79),))
        for i in range(10)
    ]
    data = data_of(page(Recording("ten", frames)))
    (face,) = data["faces"]
    assert face["series"]["t"] == [100 * i for i in range(10)]
    assert face["series"]["p"][:8] == [30, 790, *[30] * 6]
    assert face["series"]["labels"] == [1] * 5 + [2] * 5
    assert face["segments"] == [[0, 500, 1], [500, 1000, 2]]
    assert data["colours"][1] == "#f0e442"
    assert not data["thinned"]
    assert data["began"] is None


def test_names_cannot_become_code() -> None:
    text = page(hostile())
    data = data_of(text)
    assert data["title"] == HOSTILE
    assert data["feeds"][0]["source"] == HOSTILE + "left"
    assert text.count("<script") == 2
    assert "<title>&lt;/script&gt;" in text
    assert page(Recording("a\udcffb @DATA@ @TITLE@", made_up(2))).isascii()


def test_short_faces_are_folded() -> None:
    data = data_of(page(hostile()))
    assert [face["face_id"] for face in data["faces"]] == [1, 2, 1, 5]
    assert (data["faces_in_all"], len(data["more_faces"])) == (34, 30)


def test_an_hour_makes_a_small_page() -> None:
    text = page(Recording("long", made_up(3400, 30, parts={1: PARTS[1], 2: PARTS[2]})))
    data = data_of(text)
    assert data["images"] > 95_000
    assert data["thinned"]
    assert max(len(face["series"]["t"]) for face in data["faces"]) <= 2000
    assert len(data["changes"]) == 40 < data["changes_in_all"]
    assert len(text) < 500_000


def test_thumbnails_are_small_and_requested_in_order(rgb: NDArray[np.uint8]) -> None:
    stamps_s: list[float] = []

    def cut(frame: FrameRecord, face: FaceRecord) -> NDArray[np.uint8] | None:
        stamps_s.append(frame.stamp_s)
        return None if face.face_id == 5 else rgb[63:263, 178:278]

    data = data_of(page(Recording("with pictures", made_up(), thumbnail=cut)))
    assert stamps_s == sorted(stamps_s)
    assert 0 < len(stamps_s) <= 48
    one, two, five = (face["picture"] for face in data["faces"])
    assert five is None
    assert one.startswith("data:image/jpeg;base64,")
    content = np.frombuffer(base64.b64decode(two.split(",")[1]), np.uint8)
    small = cv2.imdecode(content, cv2.IMREAD_COLOR)
    assert small is not None
    assert small.shape == (128, 64, 3)
    assert len(content) < 8000
    expected = cv2.resize(rgb[63:263, 178:278], (64, 128), interpolation=cv2.INTER_AREA)
    assert np.abs(small[..., ::-1].astype(int) - expected).mean() < 6
    assert {each["face_id"] for each in data["changes"] if each["picture"]} == {1, 2}


# In a browser.


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with running(tmp_path_factory.mktemp("browser")) as window:
        yield window


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "three faces.html"
    picture = np.full((90, 70, 3), (200, 120, 90), np.uint8)
    recording = Recording("Three faces", made_up(), thumbnail=lambda frame, face: picture)
    path.write_text(page(recording), encoding="ascii")
    return path


def number(browser: Browser, selector: str) -> int:
    return int(browser.run(f"return document.querySelectorAll({json.dumps(selector)}).length"))


def colours(picture: NDArray[np.uint8]) -> int:
    return len(np.unique(picture[::3, ::3].reshape(-1, 3), axis=0))


def test_browser_draws_everything(browser: Browser, three: Path, tmp_path: Path) -> None:
    browser.open(three)
    picture = browser.screenshot(tmp_path / "page.png")
    assert browser.complaints() == []
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")
    assert picture.shape[1] == 1200
    assert picture.shape[0] > 2000
    assert colours(picture) > 100
    for rgb in ((240, 228, 66), (86, 140, 233), (0, 158, 115)):  # happy, sad, disgust
        assert (picture == rgb).all(axis=2).sum() > 500
    assert number(browser, ".face") == 3
    assert number(browser, ".area path") == 3 * 8
    assert number(browser, ".strip path") >= 3 * 2
    assert number(browser, ".affect .line") == 3 * 2
    assert number(browser, ".plane .place") == 3 * 8
    assert number(browser, ".plane .trail") > 3 * 5
    assert number(browser, ".bars tr") == 4 * 8
    assert number(browser, ".changes li img") == number(browser, ".changes li") > 10
    assert number(browser, "img:not([alt]), svg:not([role]):not([aria-hidden])") == 0
    shown = browser.run("return [...document.images].every((each) => each.naturalWidth > 0)")
    assert shown
    text = browser.run("return document.body.innerText")
    for words in (
        *("Three faces", "Face 5", "valence", "contempt", "Hz", "2023-11-14"),
        "Unknown for this recording: images on the topic, not processed, latency.",
    ):
        assert words in text
    assert "undefined" not in text
    assert "NaN" not in text


def test_gaps_stay_empty(browser: Browser, three: Path) -> None:
    browser.open(three)
    (moves,) = {
        browser.run(
            f"return document.querySelectorAll('.face')[1].querySelector('{part}').outerHTML"
        )
        .split(' d="')[1]
        .count("M")
        for part in (".area path", ".affect .line")
    }
    assert moves == 4  # face 2 came three times, and once there were no images


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_without_scrolling_sideways(
    browser: Browser, three: Path, tmp_path: Path, scheme: str
) -> None:
    for path in (three, tmp_path / "hostile.html"):
        if path is not three:
            path.write_text(page(hostile()), encoding="ascii")
        browser.open(path, 400, scheme)
        browser.run("document.querySelectorAll('details').forEach((each) => each.open = true)")
        assert browser.run("return document.documentElement.scrollWidth") == 400
        picture = browser.screenshot(tmp_path / "phone.png")
        assert picture.shape[1] == 400
        ground = picture[2, 2].mean()
        assert ground > 230 if scheme == "light" else ground < 40
        assert colours(picture) > 100
    assert browser.complaints() == []


def test_pointer_and_keys_show_the_values(browser: Browser, three: Path) -> None:
    browser.open(three)
    tip = "return document.getElementById('tip').innerText"
    x, y = browser.run(
        "const line = document.querySelectorAll('.timeline')[1]; line.scrollIntoView();"
        "const box = line.querySelector('.area').getBoundingClientRect();"
        "return [box.left + box.width * 0.25, box.top + 20]"
    )
    browser.painted()
    browser.devtools("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    browser.painted()
    words = browser.run(tip)
    assert words.startswith("0:15.0")
    assert [label for label in LABELS if label in words] == list(LABELS)
    assert "arousal" in words
    assert browser.run("return document.querySelector('.tip .top').innerText").startswith("sad")
    assert number(browser, ".cursor:not([hidden])") == 3  # the same time in all faces
    assert number(browser, ".now[visibility=visible]") == 2  # of which one came later
    browser.run("document.querySelectorAll('.timeline')[2].focus({ preventScroll: true })")
    for _ in range(2):
        browser.devtools("Input.dispatchKeyEvent", type="keyDown", key="ArrowLeft")
    browser.painted()
    assert "Face 5 is not visible" in browser.run(tip)
    assert browser.complaints() == []


def test_browser_shows_names_as_text(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "hostile.html"
    path.write_text(page(hostile()), encoding="ascii")
    browser.open(path)
    assert browser.run("return document.title") == HOSTILE
    assert browser.run("return document.querySelector('h1').textContent") == HOSTILE
    assert number(browser, "script") == 2
    assert number(browser, "details tbody tr") == 30
    assert "12.5\u00a0ms" in browser.run("return document.body.innerText")
    assert browser.complaints() == []


@pytest.mark.parametrize("faces", [(), ("happy",)])
def test_browser_draws_a_single_image(
    browser: Browser, tmp_path: Path, faces: tuple[str, ...]
) -> None:
    records = tuple(showing(1, label) for label in faces)
    path = tmp_path / "little.html"
    path.write_text(
        page(Recording("little", [FrameRecord("a", 0, 0.0, records)])), encoding="ascii"
    )
    browser.open(path)
    assert browser.complaints() == []
    text = browser.run("return document.body.innerText")
    assert ("No face was detected" in text) is not bool(faces)
    assert "No face changed its label" in text
    assert "NaN" not in text


def test_a_missing_browser_is_named() -> None:
    with pytest.raises(AssertionError, match="none of no-such-browser is on the PATH"):
        program("no-such-browser")


# The command.


def test_command_makes_a_page_of_a_csv_file(tmp_path: Path) -> None:
    write(tmp_path / "faces.csv", made_up(10))
    done = esr(tmp_path, "report", "faces.csv")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("report.html: 3 faces in ")
    data = data_of((tmp_path / "report.html").read_text(encoding="ascii"))
    assert data["title"] == "faces.csv"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faces.csv", "report.html"]


def test_command_prints_the_figures_as_json(tmp_path: Path) -> None:
    write(tmp_path / "faces.csv", made_up(10))
    done = esr(tmp_path, "report", "faces.csv", "-o", "page.html", "--title", "Monday <3", "--json")
    data = json.loads(done.stdout)
    assert (data["title"], len(data["faces"]), data["offered"]) == ("Monday <3", 3, None)
    assert [each["label"] for each in data["shares"]] == list(LABELS)
    assert "<title>Monday &lt;3</title>" in (tmp_path / "page.html").read_text(encoding="ascii")


def test_command_replaces_a_page_only_with_overwrite(tmp_path: Path) -> None:
    write(tmp_path / "faces.csv", made_up(3))
    (tmp_path / "report.html").write_text("mine")
    line = refusal(esr(tmp_path, "report", "faces.csv"))
    assert "--output: report.html already exists; add --overwrite" in line
    assert (tmp_path / "report.html").read_text() == "mine"
    assert esr(tmp_path, "report", "faces.csv", "--overwrite").returncode == 0
    assert len((tmp_path / "report.html").read_text()) > 10_000


@pytest.mark.parametrize("read", ["faces.csv", "we", "we/we.mcap", "we/metadata.yaml"])
def test_command_never_replaces_what_it_reads(tmp_path: Path, read: str) -> None:
    (tmp_path / "we").mkdir()
    for name in ("faces.csv", "we/we.mcap", "we/metadata.yaml"):
        (tmp_path / name).write_text("mine")
    target = "we/we.mcap" if read == "we" else read
    (tmp_path / "report.html").symlink_to(target)
    read = "we/we.mcap" if read == "we/metadata.yaml" else read
    line = refusal(esr(tmp_path, "report", read, "--overwrite"))
    assert "--output would overwrite report.html, which is read" in line
    assert (tmp_path / target).read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("gone.csv",), "gone.csv: there is no such file or folder"),
        (("empty.csv",), "empty.csv: contains no images"),
        (("other.csv",), "other.csv: must begin with the columns"),
        (("wrong.csv",), "wrong.csv: image 0 of a: the stamp must be a number of seconds, not nan"),
        (("stills.csv",), "stills.csv: all its frames have the same stamp"),
        (("talk.mp4",), "talk.mp4: run 'esr video talk.mp4 --csv FILE.csv', then report that file"),
        (("faces.txt",), "faces.txt: must be a .csv, a bag's folder, or one of .mcap, .db3"),
        (("empty.csv", "-o", "gone/report.html"), "--output must be a .html in an existing folder"),
        (("empty.csv", "-o", "empty.csv"), "--output must be a .html in an existing folder"),
    ],
)
def test_command_names_the_fault(tmp_path: Path, arguments: tuple[str, ...], text: str) -> None:
    write(tmp_path / "empty.csv", [])
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    for name in ("talk.mp4", "faces.txt"):
        (tmp_path / name).touch()
    write(tmp_path / "wrong.csv", [FrameRecord("a", 0, float("nan"), ())])
    write(tmp_path / "stills.csv", [FrameRecord(name, 0, 0.0, ()) for name in ("a.png", "b.png")])
    before = sorted(tmp_path.iterdir())
    assert text in refusal(esr(tmp_path, "report", *arguments))
    assert sorted(tmp_path.iterdir()) == before


def test_longest_gap_is_that_of_all_sources() -> None:
    frames = [FrameRecord(f"camera {s}", i, i / 10, ()) for s in range(7) for i in range(20 - s)]
    frames.append(FrameRecord("camera 6", 20, 60.0, ()))
    data = data_of(page(Recording("seven", frames)))
    assert data["more_feeds"] == 1
    assert (data["longest_s"], data["longest_at_s"]) == (58.7, 1.3)
