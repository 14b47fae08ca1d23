"""What has changed between two readings of a data set, said as a person would."""

import copy

from kd_keras.data.records.changes import changes

_BEFORE = {
    "classes": ["open", "shut"],
    "parts": {"a.mp4": "train", "b.mp4": "train", "c.mp4": "val"},
    "groups": {"a.mp4": "kitchen"},
    "bad_videos": {},
    "segments": [
        ["a.mp4", 1.0, 2.0, "open", False, "2"],
        ["a.mp4", 3.0, 4.0, "shut", False, "3"],
        ["b.mp4", 1.0, 2.0, None, False, "4"],
        ["c.mp4", 1.0, 2.0, "open", False, "5"],
    ],
    "files": {"a.mp4": [10, "x"], "b.mp4": [20, None], "c.mp4": [None, None]},
}


def _after(change):
    now = copy.deepcopy(_BEFORE)
    change(now)
    return changes(_BEFORE, now)


def test_order_names_of_rows_and_rounding_do_not_count():
    def shuffle(now):
        now["segments"] = now["segments"][::-1]
        now["segments"][0][2] += 1e-9
        now["segments"][1][5] = "7"

    assert _after(shuffle) == []


def test_rows_are_counted_by_video():
    def change(now):
        now["segments"][0][3] = "shut"
        now["segments"][1][1] = 3.5
        now["segments"].append(["a.mp4", 5.0, 6.0, "open"])
        now["segments"].pop(2)

    assert _after(change) == [
        "rows of 2 videos (a.mp4: 1 with another label, 1 with other times, 1 added; "
        "b.mp4: 1 removed)"
    ]


def test_videos_and_classes_are_named():
    def change(now):
        now["classes"] = ["open", "pour"]
        now["parts"] = {"a.mp4": "val", "c.mp4": "val", "d.mp4": "train"}
        now["bad_videos"] = {"b.mp4": "it is empty"}
        now["segments"] = [s for s in now["segments"] if s[0] != "b.mp4"]

    assert _after(change) == [
        "1 class added (pour)",
        "1 class removed (shut)",
        "1 video added (d.mp4)",
        "1 video removed or unreadable (b.mp4: it is empty)",
        "1 video moved to another part (a.mp4 from train to val)",
    ]


def test_only_what_is_known_of_both_files_is_compared():
    def change(now):
        now["files"] = {"a.mp4": [10, "y"], "b.mp4": [21, "x"], "c.mp4": [5, "z"]}

    assert _after(change) == ["2 videos of another content (a.mp4, b.mp4)"]
    assert _after(lambda now: now.pop("files")) == []
    older = {name: value for name, value in _BEFORE.items() if name != "groups"}
    assert changes(older, _BEFORE) == []


def test_a_video_in_another_group_is_named():
    moved = {"a.mp4": "garden", "c.mp4": "kitchen"}
    found = _after(lambda now: now.update(groups=moved))
    assert found == ["2 videos in another group (a.mp4, c.mp4)"]


def test_many_are_counted_and_the_first_named():
    def change(now):
        now["parts"] |= {f"n{number}.mp4": "train" for number in range(8)}

    assert _after(change) == [
        "8 videos added (n0.mp4, n1.mp4, n2.mp4, n3.mp4, n4.mp4 and 3 more)"
    ]
