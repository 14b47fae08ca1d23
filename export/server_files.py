"""What TF Serving needs beside the versions: its configuration, and how to start it.

`models.config` labels two versions: `canary` is the newest, and `stable` the one that
was stable before, until somebody changes the number. A server that polls the file
follows. Everything else is the same for every version and written once, so that it may
be edited.
"""

import dataclasses
import os
import re
from collections.abc import Sequence

from export import versions
from kd_keras.data import remote

MODELS_CONFIG = "models.config"
# What a server may put together, and what is warmed up. The last is the most.
BATCH_SIZES = (1, 2, 4, 8)

# The newest release of the same series as TensorFlow here.
_IMAGE = "tensorflow/serving:2.17.0"
_GRPC_PORT, _REST_PORT = 8500, 8501
_METRICS = "/monitoring/prometheus/metrics"
_STABLE = re.compile(r'key:\s*"stable"\s*,?\s*value:\s*(\d+)')

_BATCHING = f"""\
# Clips of several clients are put into one batch. This needs inputs of one shape, and a
# clip that is refused fails its whole batch. Start the server without --enable_batching
# if clients send frames of different number or size, or files that may be damaged.
max_batch_size {{ value: {BATCH_SIZES[-1]} }}
{"".join(f"allowed_batch_sizes: {size}" + chr(10) for size in BATCH_SIZES)}\
# How long the first clip waits for others.
batch_timeout_micros {{ value: 2000 }}
max_enqueued_batches {{ value: 64 }}
# As many batches are computed at a time.
num_batch_threads {{ value: 2 }}
"""

_MONITORING = f"""\
prometheus_config {{
  enable: true
  path: "{_METRICS}"
}}
"""


@dataclasses.dataclass(frozen=True)
class Labels:
    """The versions that clients reach by name."""

    stable: int
    canary: int


def publish(
    output: str, keep_versions: int | None = None, written: int | None = None
) -> None:
    """Tells servers of the versions there are, and deletes those that are too many.

    Args:
        output: The folder of the served model.
        keep_versions: How many are left, always the newest and the stable one among
            them; None deletes none.
        written: The version that was just written, if any; it is left, too.
    """
    there = versions.versions(output)
    stable = labels_after(read_stable(output), there).stable
    needed = {stable, there[-1]} if written is None else {stable, there[-1], written}
    others = [version for version in there if version not in needed]
    if keep_versions is not None:
        others = others[max(len(there) - keep_versions, 0) :]
    kept = sorted({*needed, *others})
    # First, so that no server is told of a version that is gone.
    write(output, kept)
    for version in there:
        if version not in kept:
            versions.remove_version(output, version)


def write(output: str, served: Sequence[int]) -> None:
    """Writes `models.config` for these versions, and the other files if missing.

    Args:
        output: The folder of the served model; its name is the model's name.
        served: The versions that there are, in order; at least one.
    """
    name = model_name(output)
    config = models_config(name, labels_after(read_stable(output), served))
    remote.write_bytes(remote.join(output, MODELS_CONFIG), config.encode())
    for file, content in {
        "batching_params.pbtxt": _BATCHING,
        "monitoring.config": _MONITORING,
        "docker-compose.yml": _compose(name),
        "kubernetes.yml": _kubernetes(name),
    }.items():
        if not remote.exists(remote.join(output, file)):
            remote.write_bytes(remote.join(output, file), content.encode())


def model_name(output: str) -> str:
    """What clients call the model: the name of its folder."""
    return os.path.basename(os.path.abspath(output) if "://" not in output else output)


def read_stable(output: str) -> int | None:
    """The version that `models.config` labels stable; None if it labels none."""
    path = remote.join(output, MODELS_CONFIG)
    if not remote.exists(path):
        return None
    found = _STABLE.search(remote.read_bytes(path).decode("utf-8", "replace"))
    return int(found[1]) if found else None


def labels_after(stable: int | None, served: Sequence[int]) -> Labels:
    """The labels once there are these versions, in order."""
    newest = served[-1]
    if stable not in served:
        # The one before what was stable, if that was taken back.
        earlier = [v for v in served if stable is not None and v < stable]
        stable = earlier[-1] if earlier else newest
    return Labels(stable, newest)


def models_config(name: str, labels: Labels) -> str:
    """The text of a ModelServerConfig that serves the labeled versions."""
    served = sorted({labels.stable, labels.canary})
    lines = "\n".join(f"        versions: {version}" for version in served)
    return f"""\
# canary is the newest version. Set stable to its number once it has proved itself; the
# next export keeps the number.
model_config_list {{
  config {{
    name: "{_escaped(name)}"
    base_path: "{_escaped(_in_container(name))}"
    model_platform: "tensorflow"
    model_version_policy {{
      specific {{
{lines}
      }}
    }}
    version_labels {{ key: "stable" value: {labels.stable} }}
    version_labels {{ key: "canary" value: {labels.canary} }}
  }}
}}
"""


def _in_container(name):
    return f"/models/{name}"


def _escaped(text):
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _arguments(name):
    folder = _in_container(name)
    return (
        f"--model_config_file={folder}/{MODELS_CONFIG}",
        "--model_config_file_poll_wait_seconds=30",
        # Of a version that is still loading, too.
        "--allow_version_labels_for_unavailable_models=true",
        "--enable_batching=true",
        f"--batching_parameters_file={folder}/batching_params.pbtxt",
        f"--monitoring_config_file={folder}/monitoring.config",
    )


def _listed(items, indent):
    # JSON strings are YAML strings, whatever they hold.
    return "\n".join(f"{' ' * indent}- {_quoted(item)}" for item in items)


def _quoted(text):
    return '"' + _escaped(text) + '"'


def _compose(name):
    status = f"GET /v1/models/{name} HTTP/1.0\\r\\n\\r\\n"
    probe = (
        f"exec 3<>/dev/tcp/127.0.0.1/{_REST_PORT} && printf '{status}' >&3 && "
        "grep -q AVAILABLE <&3"
    )
    # Compose replaces what a dollar begins.
    arguments = [argument.replace("$", "$$") for argument in _arguments(name)]
    return f"""\
# In this folder: docker compose up
services:
  serving:
    image: {_IMAGE}
    command:
{_listed(arguments, 6)}
    ports:
      - "{_GRPC_PORT}:8500"
      - "{_REST_PORT}:8501"
    volumes:
      - type: bind
        source: .
        target: {_quoted(_in_container(name).replace("$", "$$"))}
        read_only: true
    restart: unless-stopped
    healthcheck:
      # The image has no curl.
      test: ["CMD", "bash", "-c", {_quoted(probe.replace("$", "$$"))}]
      interval: 10s
      start_period: 60s
"""


def _kubernetes(name):
    label = re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")[:40] or "model"
    probe = f"""\
            httpGet:
              path: {_quoted(f"/v1/models/{name}")}
              port: {_REST_PORT}"""
    return f"""\
# The claim {label}-models holds this folder, under the name that it has here.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {label}-serving
spec:
  selector:
    matchLabels:
      app: {label}-serving
  template:
    metadata:
      labels:
        app: {label}-serving
      annotations:
        prometheus.io/scrape: "true"
        prometheus.io/port: "{_REST_PORT}"
        prometheus.io/path: {_METRICS}
    spec:
      containers:
        - name: serving
          image: {_IMAGE}
          args:
{_listed(_arguments(name), 12)}
          ports:
            - name: grpc
              containerPort: {_GRPC_PORT}
            - name: rest
              containerPort: {_REST_PORT}
          # Warming up is over before this answers.
          startupProbe:
{probe}
            periodSeconds: 5
            failureThreshold: 60
          readinessProbe:
{probe}
          resources:
            requests:
              cpu: "2"
              memory: 2Gi
          volumeMounts:
            - name: models
              mountPath: /models
              readOnly: true
      volumes:
        - name: models
          persistentVolumeClaim:
            claimName: {label}-models
            readOnly: true
---
apiVersion: v1
kind: Service
metadata:
  name: {label}-serving
spec:
  selector:
    app: {label}-serving
  ports:
    - name: grpc
      port: {_GRPC_PORT}
    - name: rest
      port: {_REST_PORT}
"""
