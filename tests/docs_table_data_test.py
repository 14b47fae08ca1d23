"""The data of the tables of real clips, from small files of the published form."""

import csv

import cv2
import keras
import numpy as np

import kd_keras
from docs import table_data
from tests import numbered_video


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


def test_a_fold_leaves_every_fifth_person_out(tmp_path):
    people = [4, 5, 6, 9, 10, 14]
    np.savez(
        tmp_path / "features.npz",
        features=np.zeros((6, 16, 2), np.uint8),
        name=[f"p{person}" for person in people],
        stroke=["lob", "serve"] * 3,
        subject=people,
    )
    table_data.write_strokes(tmp_path / "features.npz", tmp_path / "strokes.csv")
    folds = tmp_path / "strokes_{fold}.csv"
    table_data.write_folds(tmp_path / "strokes.csv", folds, 5, "subject")
    with open(tmp_path / "strokes_1.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["split"] == "test" for row in rows] == [
        *(True, False, False, False, False, True)
    ]
    expected = {"video": "p5", "start": "0", "end": "16", "label": "serve"}
    assert rows[1] == expected | {"subject": "5", "split": "train", "group": "5"}


def test_a_sequence_of_each_set_is_evaluated(tmp_path):
    clips = tmp_path / "annotations.csv"
    clips.write_text(
        "video,start,end,label,split,set,sequence\n"
        "a.avi,0,3.6,hug,val,1,1\nb.avi,0,2,kick,train,1,2\n"
        "c.avi,0,2.5,hug,train,2,11\nd.avi,0,2,push,val,2,12\n"
    )
    table_data.write_folds(clips, tmp_path / "fold_{fold}.csv", 2, "sequence")
    for fold, parts in ((1, "test train test train"), (2, "train test train test")):
        with open(tmp_path / f"fold_{fold}.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert [row["split"] for row in rows] == parts.split()
        assert [row["group"] for row in rows] == ["1", "2", "11", "12"]
        assert rows[0]["video"] == "a.avi" and rows[2]["end"] == "2.5"


def test_a_map_is_what_the_network_sees_of_a_frame(tmp_path):
    (tmp_path / "videos").mkdir()
    path = tmp_path / "videos" / "a.avi"
    numbered_video.write(path, num_frames=8, codec="ffv1", size=(192, 192))
    table_data.write_maps(tmp_path / "videos", tmp_path / "maps", per_second=10)
    maps = np.load(tmp_path / "maps" / "a.avi.npy")
    # Frames 0, 3 and 6 of 30 per second.
    assert maps.shape == (3, 3, 3, 1280)
    network = kd_keras.TSN(
        *(1000, 1, 192), segments=1, network="efficientnet_lite0", weights="imagenet"
    )
    last = keras.Model(network.input, network.get_layer("top_activation").output)
    for position, number in enumerate((0, 3, 6)):
        frame = numbered_video.frame(number, 192, 192) / 127.5 - 1
        [[seen]] = np.asarray(last(frame[None, None].astype("float32")))
        pooled = seen.reshape(3, 2, 3, 2, 1280).mean((1, 3))
        np.testing.assert_allclose(maps[position], pooled, atol=0.1)
        assert np.abs(maps[position] - pooled).mean() < 0.005
