"""The data of the tables of real clips, from small files of the published form."""

import csv

import cv2
import numpy as np

from docs import table_data


def test_a_silhouette_is_the_bits_of_its_frame(tmp_path):
    source, output = tmp_path / "jhmdb", tmp_path / "silhouettes"
    (source / "splits").mkdir(parents=True)
    (source / "splits" / "run_test_split1.txt").write_text("b.avi 2\n")
    # A width that does not fill its last byte.
    pixels = np.random.default_rng(0).integers(0, 2, (5, 3, 12), np.uint8)
    np.savez(
        source / "puppet_masks.npz",
        bits=np.packbits(pixels, axis=2),
        offsets=[0, 2, 5],
        video=["a", "b"],
        label=["jump", "run"],
        shape=[3, 12],
    )
    table_data.write_silhouettes(source, output)
    for video, number, place in (("jump/a", 2, 1), ("run/b", 1, 2), ("run/b", 3, 4)):
        path = output / "Rename_Images" / video / f"{number:05}.png"
        np.testing.assert_array_equal(cv2.imread(str(path), 0), 255 * pixels[place])
    assert len(list(output.rglob("*.png"))) == 5
    assert (output / "splits" / "run_test_split1.txt").read_text() == "b.avi 2\n"


def test_every_fifth_subject_is_evaluated(tmp_path):
    np.savez(
        tmp_path / "features.npz",
        features=np.zeros((3, 16, 2), np.uint8),
        name=["p4", "p5", "p6"],
        stroke=["lob", "serve", "lob"],
        subject=[4, 5, 6],
    )
    table_data.write_strokes(tmp_path / "features.npz", tmp_path / "strokes.csv")
    with open(tmp_path / "strokes.csv", newline="", encoding="utf-8") as file:
        rows = [tuple(row.values()) for row in csv.DictReader(file)]
    assert rows == [
        ("p4", "0", "16", "lob", "train"),
        ("p5", "0", "16", "serve", "test"),
        ("p6", "0", "16", "lob", "train"),
    ]


def test_a_sequence_of_each_set_is_evaluated(tmp_path):
    clips = tmp_path / "annotations.csv"
    clips.write_text(
        "video,start,end,label,split,set,sequence\n"
        "a.avi,0,3.6,hug,val,1,1\nb.avi,0,2,kick,train,1,10\n"
        "c.avi,0,2.5,hug,train,2,11\nd.avi,0,2,push,val,2,20\n"
    )
    for fold, parts in ((1, "test train test train"), (10, "train test train test")):
        table_data.write_sequences(clips, tmp_path / "fold.csv", fold)
        with open(tmp_path / "fold.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert [row["split"] for row in rows] == parts.split()
        assert rows[0]["video"] == "a.avi" and rows[2]["end"] == "2.5"
