"""What lies beside the versions, and how versions come and go."""

import importlib.util
import json
import pathlib

import jsonschema
import pytest
import yaml

from export import rollback, server_files, versions

COMPOSE_SCHEMA = {
    "type": "object",
    "required": ["services"],
    "additionalProperties": {"not": {}},
    "properties": {
        "services": {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {
                "type": "object",
                "required": ["image", "command", "ports", "volumes"],
                "properties": {
                    "image": {"type": "string", "pattern": r"^[\w/.-]+:[\w.-]+$"},
                    "command": {"type": "array", "items": {"type": "string"}},
                    "ports": {
                        "type": "array",
                        "items": {"type": "string", "pattern": r"^\d+:\d+$"},
                    },
                    "volumes": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["type", "source", "target"],
                            "properties": {"read_only": {"const": True}},
                        },
                    },
                },
            },
        }
    },
}


@pytest.fixture
def output(tmp_path):
    """A served model with two versions, of which TensorFlow would load neither."""
    folder = tmp_path / 'my "model"'
    for version in ("1", "2"):
        (folder / version).mkdir(parents=True)
        (folder / version / "saved_model.pb").touch()
    return folder


def labels(output):
    text = (output / server_files.MODELS_CONFIG).read_text()
    served = [int(line.split()[1]) for line in text.splitlines() if "versions:" in line]
    stable, canary = (
        int(line.split()[-2]) for line in text.splitlines() if "version_labels" in line
    )
    return stable, canary, served


def add(output, version):
    (output / str(version)).mkdir()
    (output / str(version) / "saved_model.pb").touch()
    server_files.publish(str(output))


def test_canary_is_the_newest_and_stable_stays_until_it_is_moved(output):
    server_files.publish(str(output))
    assert labels(output) == (2, 2, [2])
    add(output, 3)
    assert labels(output) == (2, 3, [2, 3])
    add(output, 4)
    assert labels(output) == (2, 4, [2, 4])
    config = output / server_files.MODELS_CONFIG
    config.write_text(
        config.read_text().replace('"stable" value: 2', '"stable" value: 4')
    )
    add(output, 5)
    assert labels(output) == (4, 5, [4, 5])


def test_other_files_are_written_once(output):
    server_files.publish(str(output))
    (output / "batching_params.pbtxt").write_text("mine")
    add(output, 3)
    assert (output / "batching_params.pbtxt").read_text() == "mine"


@pytest.mark.parametrize(
    "keep, left", [(None, [1, 2, 3, 4, 5]), (1, [2, 5]), (2, [2, 5]), (3, [2, 4, 5])]
)
def test_as_many_versions_are_kept(output, keep, left):
    server_files.publish(str(output))
    for version in (3, 4, 5):
        add(output, version)
    server_files.publish(str(output), keep)
    assert versions.versions(output) == left
    assert not [path for path in output.iterdir() if path.name.startswith(".")]
    assert labels(output) == (2, 5, [2, 5])


def test_the_version_just_written_is_kept_even_if_it_is_the_oldest(output):
    server_files.publish(str(output))
    for version in (3, 5):
        add(output, version)
    server_files.publish(str(output), keep_versions=1, written=1)
    assert versions.versions(output) == [1, 2, 5]
    assert labels(output) == (2, 5, [2, 5])


def test_a_rollback_takes_the_newest_back_and_its_number_for_good(output, capsys):
    server_files.publish(str(output))
    add(output, 3)
    kept = rollback.run(rollback.Request(str(output)))
    assert pathlib.Path(kept) == output / "rolled_back.3"
    assert versions.versions(output) == [1, 2] and labels(output) == (2, 2, [2])
    assert versions.next_version(output) == 4
    assert "2 is the newest now" in capsys.readouterr().out
    rollback.run(rollback.Request(str(output), version=2))
    assert labels(output) == (1, 1, [1])
    with pytest.raises(ValueError, match="1 is the only version"):
        rollback.run(rollback.Request(str(output)))
    with pytest.raises(ValueError, match=r"no version 3: there are \[1\]"):
        rollback.run(rollback.Request(str(output), version=3))
    with pytest.raises(ValueError, match=r"none has no versions, which are folders"):
        rollback.run(rollback.Request(str(output / "none")))


def test_a_number_that_was_taken_back_cannot_be_taken_back_again(output):
    server_files.publish(str(output))
    rollback.run(rollback.Request(str(output)))
    with pytest.raises(ValueError, match="2 was taken back .* next free number is 3"):
        versions.free_number(output, 2)
    assert versions.free_number(output, 7) == 7
    # Another program wrote it again.
    add(output, 2)
    server_files.publish(str(output))
    before = labels(output)
    with pytest.raises(ValueError, match="Move rolled_back.2 to another folder first"):
        rollback.run(rollback.Request(str(output)))
    assert labels(output) == before and versions.versions(output) == [1, 2]


def test_a_version_that_no_server_can_count_to_is_refused(output):
    highest = 2**63 - 1
    assert versions.free_number(output, highest) == highest
    with pytest.raises(ValueError, match=rf"no version above {highest}\. Got {2**63};"):
        versions.free_number(output, 2**63)
    add(output, highest)
    with pytest.raises(ValueError, match="give --version a lower number"):
        versions.free_number(output, None)


def test_a_version_whose_number_begins_with_zeros_is_named(output):
    (output / "007").mkdir()
    with pytest.raises(
        ValueError, match=r"/007: the number .* Rename it to 7, or move"
    ):
        versions.versions(output)
    (output / "007").rename(output / "0")
    assert versions.versions(output) == [0, 1, 2]


def test_a_file_that_a_server_takes_for_a_version_is_named_and_stays(output):
    (output / "9").write_text("mine")
    with pytest.raises(ValueError, match="/9: a server .* Rename it, or move it away"):
        server_files.publish(str(output), keep_versions=1)
    assert (output / "9").read_text() == "mine"


def test_of_a_version_that_is_a_link_the_link_is_deleted(output, tmp_path):
    elsewhere = (output / "2").rename(tmp_path / "elsewhere")
    (output / "2").symlink_to(elsewhere, target_is_directory=True)
    server_files.write(str(output), [1])
    add(output, 3)
    server_files.publish(str(output), keep_versions=1)
    assert versions.versions(output) == [1, 3]
    assert not [path for path in output.iterdir() if path.name.startswith(".")]
    assert (elsewhere / "saved_model.pb").exists()


def test_the_text_protos_are_tf_servings(output):
    server_files.publish(str(output))
    add(output, 3)
    if importlib.util.find_spec("tensorflow_serving") is None:
        pytest.skip("tensorflow-serving-api is not installed.")
    from google.protobuf import text_format
    from tensorflow_serving.config import model_server_config_pb2

    config = text_format.Parse(
        (output / server_files.MODELS_CONFIG).read_text(),
        model_server_config_pb2.ModelServerConfig(),
    )
    [model] = config.model_config_list.config
    assert (model.name, model.base_path) == (output.name, f"/models/{output.name}")
    assert list(model.model_version_policy.specific.versions) == [2, 3]
    assert dict(model.version_labels) == {"stable": 2, "canary": 3}


def test_the_last_allowed_batch_size_is_the_most(output):
    server_files.publish(str(output))
    text = (output / "batching_params.pbtxt").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    allowed = [int(line.split()[1]) for line in lines if line.startswith("allowed")]
    assert allowed == sorted(allowed) == list(server_files.BATCH_SIZES)
    assert f"max_batch_size {{ value: {allowed[-1]} }}" in lines


def test_the_yaml_files_start_a_server_with_the_others(output):
    server_files.publish(str(output))
    compose = yaml.safe_load((output / "docker-compose.yml").read_text())
    jsonschema.validate(compose, COMPOSE_SCHEMA)
    [service] = compose["services"].values()
    [volume] = service["volumes"]
    assert volume["target"] == f"/models/{output.name}"

    parts = list(yaml.safe_load_all((output / "kubernetes.yml").read_text()))
    deployment, front = parts
    assert [part["kind"] for part in parts] == ["Deployment", "Service"]
    pod = deployment["spec"]["template"]
    assert deployment["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"]
    assert front["spec"]["selector"] == pod["metadata"]["labels"]
    [container] = pod["spec"]["containers"]
    for arguments in (service["command"], container["args"]):
        given = dict(argument.split("=", 1) for argument in arguments)
        files = [value for value in given.values() if value.startswith("/")]
        assert len(files) == 3
        for file in files:
            assert (output / pathlib.Path(file).name).is_file()
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["spec"]["volumes"]}
    assert json.dumps(parts)
