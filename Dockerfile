# Training on an NVIDIA GPU (`docker run --gpus all`), or on the CPU without one:
#   docker build -t kd_keras .
#   docker run --gpus all -v "$PWD/data:/data" -v "$PWD/runs:/app/runs" kd_keras \
#       --flagfile=configs/jhmdb.flags --data_root=/data --run_dir=runs/jhmdb
FROM python:3.12-slim

# For OpenCV's and TensorFlow's shared libraries.
RUN apt-get update \
 && apt-get install -y --no-install-recommends libglib2.0-0 libgomp1 \
 && rm -rf /var/lib/apt/lists/*

WORKDIR /app
COPY requirements.txt constraints.txt ./
# CUDA's libraries come as packages of the same TensorFlow.
RUN pip install --no-cache-dir -r requirements.txt -c constraints.txt \
 && pip install --no-cache-dir "tensorflow[and-cuda]==2.17.1" -c constraints.txt
COPY . .

ENTRYPOINT ["python", "-m", "train.main"]
