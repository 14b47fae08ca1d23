# The project's commands; `make help` lists them.

PYTHON ?= python3
JOBS ?= 3
# Bazel's own files, outside of the checkout.
BAZEL_ROOT ?= $(or $(TMPDIR),/tmp)/kd_keras-bazel-$(shell id -u)
# A few of each kind; BAZEL_TESTS=//... runs every test.
BAZEL_TESTS ?= $(addprefix //:,$(addsuffix _test,data_pairs export_preprocess \
  losses_direct models_student project_files train_flags_config))

UV = uv==0.13.9

# Such as --only=workers,memory; python -m benchmarks --help lists them.
BENCHMARK_FLAGS ?=

# For `make reproduce`: what docs/table_data.py reads.
DATA ?= ../shared/data

# TensorFlow says what is wrong, not what it found.
export TF_CPP_MIN_LOG_LEVEL ?= 2

# Images of containers often forbid Python to keep what it compiled. Each import of
# TensorFlow then takes three times as long.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo test coverage test-kills test-fuzz test-load lint format test-backends \
  test-cluster test-latest bazel-test benchmarks reproduce docs lock clean

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/make \1\t\2/p' Makefile | expand -t 20

demo: .venv/ready ## train, evaluate and export on made-up videos, in runs/demo
	.venv/bin/python -m train.main --flagfile=configs/demo.flags --run_dir=runs/demo

test: lint ## lint, then every test, on the CPU
	$(call pytest,.venv)

coverage: .venv/ready ## every test, and the lines that none runs in build/coverage
	$(call pytest,.venv) --cov --cov-report=html:build/coverage

test-kills: .venv/ready ## kill preparations, runs, exports; distribute runs: the same results
	CUDA_VISIBLE_DEVICES=-1 .venv/bin/python -m tests.kill_preparation --kills=10
	CUDA_VISIBLE_DEVICES=-1 .venv/bin/python -m tests.kill_training --kills=20
	CUDA_VISIBLE_DEVICES=-1 .venv/bin/python -m tests.kill_exports --kills=100
	KD_KERAS_LONG_TESTS=1 CUDA_VISIBLE_DEVICES=-1 .venv/bin/python -m pytest -q \
	  tests/train_loop_distribution_test.py tests/train_remote_test.py

test-cluster: .venv-cluster/ready ## kill a Dask worker; train from a tf.data service
	KD_KERAS_LONG_TESTS=1 CUDA_VISIBLE_DEVICES=-1 .venv-cluster/bin/python -m pytest -q \
	  tests/data_records_cluster_test.py tests/train_loop_service_test.py

test-fuzz: .venv/ready ## read thousands of broken recordings, tables, flagfiles, records
	CUDA_VISIBLE_DEVICES=-1 .venv/bin/python -m tests.fuzz_recordings --cases=2000
	CUDA_VISIBLE_DEVICES=-1 .venv/bin/python -m tests.fuzz_tables --cases=1000
	CUDA_VISIBLE_DEVICES=-1 .venv/bin/python -m tests.fuzz_flagfiles --cases=500
	CUDA_VISIBLE_DEVICES=-1 .venv/bin/python -m tests.fuzz_records --cases=500

test-load: .venv/ready ## ask a server from eight clients at a time, a tenth of it wrongly
	CUDA_VISIBLE_DEVICES=-1 .venv/bin/python -m tests.load_serving --requests=10000

lint: .venv/ready ## check style, formatting and types
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

format: .venv/ready ## repair style and formatting where a tool can
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

test-backends: .venv-backends/ready ## losses, models, Distiller on JAX and PyTorch
	KERAS_BACKEND=torch $(call pytest,.venv-backends) $(BACKEND_TESTS)
	KERAS_BACKEND=jax JAX_DISABLE_MOST_OPTIMIZATIONS=1 \
	  $(call pytest,.venv-backends) $(BACKEND_TESTS)

test-latest: .venv-latest/ready ## every test on the newest TensorFlow that is supported
	$(call pytest,.venv-latest)

bazel-test: .venv/ready ## build every Bazel target and run BAZEL_TESTS
	@command -v bazel > /dev/null || { $(INSTALL_BAZEL); }
	$(BAZEL) build //...
	$(BAZEL) test $(BAZEL_TESTS)

benchmarks: .venv-benchmarks/ready ## time the project beside what else one would use
	CUDA_VISIBLE_DEVICES=-1 .venv-benchmarks/bin/python -m benchmarks $(BENCHMARK_FLAGS)

reproduce: .venv/ready ## make the tables of docs/results*.md again; hours, goes on where it ended
	$(call table,demo,demo,)
	.venv/bin/python -m docs.score_demo results/demo/runs/*
	.venv/bin/python -m docs.score_confidence results/demo/runs/*
	.venv/bin/python -m train.horizon results/demo/runs/* --lead_times_s=0.2,0.4,0.8,1.2 \
	  --output=results/demo
	$(call table,sensitivity,sensitivity,--seeds=0$(comma)1)
	$(call table,drift,drift-30,--run_flag=--demo_camera_drift=0.3)
	$(call table,drift,drift-30-fine,--run_flag=--demo_camera_drift=0.3 \
	  --run_flag=--feature_layer=Mixed_3c)
	$(call table,drift,drift-0-fine,--run_flag=--demo_camera_drift=0 \
	  --run_flag=--feature_layer=Mixed_3c --seeds=0$(comma)1)
	.venv/bin/python -m docs.table_data --data=$(DATA) --output=runs/table_data
	for percent in 10 25 50 100; do \
	  $(call table,thetis,thetis-$$percent,--run_flag=--annotations=runs/table_data/strokes_{split}.csv \
	    --run_flag=--feature_root=$(DATA)/thetis_features/inception_v3.npz \
	    --run_flag=--labeled_fraction=$${percent}e-2) || exit; done
	for shown in 20 50; do \
	  $(call ut_interaction,50,0$(comma)1) || exit; \
	  $(call ut_interaction,100,0) || exit; done
	$(call table,silhouettes,silhouettes,--run_flag=--data_root=runs/table_data/silhouettes)
	$(call table,silhouettes,silhouettes-short,--run_flag=--teacher_steps=1500 \
	  --run_flag=--student_steps=600 --seeds=1$(comma)2 \
	  --run_flag=--data_root=runs/table_data/silhouettes)
	$(call train_table,silhouettes,silhouettes-two-streams) --seeds=0,1 --modalities=rgb,flow \
	  --run_flag=--data_root=runs/table_data/silhouettes --run_flag=--flow_method=dis
	for stream in flow both; do cp results/silhouettes-two-streams/$$stream/table.json \
	  results/silhouettes-$$stream.json || exit; done
	$(call table,silhouettes_few_labels,silhouettes-25, \
	  --run_flag=--data_root=runs/table_data/silhouettes)
	$(call ceiling_actions,25,0$(comma)1$(comma)2)
	$(call ceiling_actions,50,0$(comma)1$(comma)2)
	.venv/bin/python -m docs.draw_results

docs: .venv-docs/ready ## build the documentation in build/docs; broken links stop it
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict

lock: .venv-lock/ready ## renew constraints.txt after a change of requirements.txt
	.venv-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --no-annotate \
	  --custom-compile-command 'make lock' --output-file constraints.txt \
	  requirements.txt docs/requirements.txt

clean: ## remove environments, caches and the demo's run
	rm -rf .venv .venv-backends .venv-latest .venv-benchmarks .venv-cluster .venv-docs .venv-lock runs/demo build *.egg-info
	rm -rf .pytest_cache .ruff_cache .mypy_cache bazel-* $(BAZEL_ROOT)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Each environment is made anew when its requirements.txt changes. constraints.txt has the
# tested versions of what the requirements bring along. uv installs in a third of pip's
# time. If it cannot, as with an index that pip alone is configured for, pip does. Python
# compiles what is imported, which is half a minute less than all that is installed.

.venv/ready: requirements.txt constraints.txt
	$(call new_venv,$(@D))
	$(@D)/bin/pip install $(UV) && $(@D)/bin/uv pip install --python $(@D)/bin/python \
	  -r requirements.txt -c constraints.txt || \
	  $(@D)/bin/pip install --no-compile -r requirements.txt -c constraints.txt
	@touch $@

# Keras, pytest, Matplotlib and ImageNet weights as in requirements.txt. The newest JAX
# that this was tried on, and a PyTorch whose CPU build (2.13.0+cpu) pip takes where an
# index has it: it is smaller.
.venv-backends/ready: requirements.txt
	$(call new_venv,$(@D))
	grep -E '^(keras|pytest|efficientnet|matplotlib)' requirements.txt | \
	  $(@D)/bin/pip install -r /dev/stdin jax==0.10.2 torch==2.13.0
	@touch $@

# What requirements.txt gives to Python 3.13, on any Python.
.venv-latest/ready: requirements.txt
	$(call new_venv,$(@D))
	sed -e '/python_version < "3.13"/d' -e 's/;.*//' requirements.txt | \
	  $(@D)/bin/pip install -r /dev/stdin
	@touch $@

# PyTorch as above, ONNX Runtime and OpenVINO: what one would use instead.
.venv-benchmarks/ready: requirements.txt constraints.txt
	$(call new_venv,$(@D))
	$(@D)/bin/pip install -r requirements.txt -c constraints.txt torch==2.13.0 \
	  onnx==1.18.0 onnxruntime==1.32.0 tf2onnx==1.17.0 openvino==2026.4.1 scipy==1.17.1
	@touch $@

# As the extra `cluster` of pyproject.toml pins it.
.venv-cluster/ready: requirements.txt constraints.txt
	$(call new_venv,$(@D))
	$(@D)/bin/pip install -r requirements.txt -c constraints.txt distributed==2026.8.0
	@touch $@

.venv-docs/ready: docs/requirements.txt constraints.txt
	$(call new_venv,$(@D))
	$(@D)/bin/pip install -r docs/requirements.txt -c constraints.txt
	@touch $@

.venv-lock/ready:
	$(call new_venv,$(@D))
	$(@D)/bin/pip install $(UV)
	@touch $@

# A table's flagfile and its folder in results/.
train_table = .venv/bin/python -m train.table --flagfile=configs/tables/$(1).flags \
  --output=results/$(2)
# The same with more flags; the JSON alone is checked in.
table = $(call train_table,$(1),$(2)) $(3) && cp results/$(2)/table.json results/$(2).json
comma := ,
# Percent of the labels, and the seeds; the shell's `shown` is the percent that is seen.
ut_interaction = $(call table,ut_interaction,ut_interaction-$$shown-$(1), \
  --run_flag=--annotations=runs/table_data/ut_interaction_{split}.csv \
  --run_flag=--feature_root=runs/table_data/ut_interaction \
  --run_flag=--observed_fraction=$${shown}e-2 \
  --run_flag=--labeled_fraction=$(1)e-2 --seeds=$(2))
ceiling_actions = $(call table,ceiling_actions,ceiling_actions-$(1), \
  --run_flag=--annotations=runs/table_data/ceiling_actions_{split}.csv \
  --run_flag=--feature_root=runs/table_data/ceiling_actions \
  --run_flag=--labeled_fraction=$(1)e-2 --seeds=$(2))

define new_venv
@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
  { echo "Python 3.11, 3.12 or 3.13 is needed and $(PYTHON) is $$($(PYTHON) --version 2>&1);" \
    "name another one, as in: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
@$(PYTHON) -c 'import ensurepip, venv' || \
  { echo "$(PYTHON) cannot make environments;" \
    "on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
$(PYTHON) -m venv --clear $(1)
endef

# Two workers would fight over the memory of a GPU. Threads of operations as small as those
# of the tests cost more than they bring, and so does code that XLA optimizes.
pytest = CUDA_VISIBLE_DEVICES=-1 OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 \
  XLA_FLAGS=--xla_backend_optimization_level=0 \
  $(1)/bin/python -m pytest -q -n $(JOBS) --dist loadfile \
  --no-loadscope-reorder

# JAX compiles every operation of every shape by itself, which takes minutes: half as
# many where it optimises little.
BACKEND_TESTS = tests/losses_*_test.py tests/models_*_test.py \
  tests/distill_backends_test.py \
  tests/kd_keras_import_test.py tests/doctest_test.py

# The environment's Python is the one that the tests find first. The server ends by
# itself soon after the last command.
BAZEL = PATH="$(CURDIR)/.venv/bin:$$PATH" \
  bazel --output_user_root=$(BAZEL_ROOT) --max_idle_secs=60

SUDO = $(if $(filter-out 0,$(shell id -u)),sudo)
INSTALL_BAZEL = command -v apt-get > /dev/null || \
  { echo "bazel is missing; install it (4.2 and 7 or newer work) and try again" >&2; \
    exit 1; }; \
  $(SUDO) apt-get update && $(SUDO) apt-get install -y bazel-bootstrap
