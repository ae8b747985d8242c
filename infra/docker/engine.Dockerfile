# syntax=docker/dockerfile:1
# What jobs run in: Python with PyTorch (its wheel brings CUDA's libraries; the host brings the driver) and Node for the
# kinds that run in it. Build it in the repository's root; a CPU image with --build-arg TORCH_INDEX=<PyTorch's CPU index>:
#   docker build -f infra/docker/engine.Dockerfile -t fretsaw/engine .
FROM node:20.20-bookworm-slim AS build
WORKDIR /opt/fretsaw
COPY package.json package-lock.json ./
RUN ONNXRUNTIME_NODE_INSTALL=skip npm ci --no-audit --no-fund
COPY . .
RUN node infra/setup/build.mjs && npm prune --omit=dev --no-audit --no-fund

FROM python:3.11-slim-bookworm
ARG TORCH_INDEX=""
WORKDIR /opt/fretsaw
COPY --from=build /usr/local/bin/node /usr/local/bin/node
COPY engine/requirements.lock engine/requirements.lock
# torch has no hash in the lock file: its builds differ by index.
RUN python -m venv .venv \
  && grep --invert-match '^torch==' engine/requirements.lock > /tmp/others.lock \
  && .venv/bin/pip install --no-cache-dir --no-deps --require-hashes --requirement /tmp/others.lock \
  && .venv/bin/pip install --no-cache-dir "$(grep '^torch==' engine/requirements.lock)" ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} \
  && rm /tmp/others.lock \
  && echo /opt/fretsaw/engine/src > "$(.venv/bin/python -c 'import site; print(site.getsitepackages()[0])')/fretsaw-engine.pth"
COPY --from=build /opt/fretsaw /opt/fretsaw
RUN groupadd --gid 10001 fretsaw && useradd --uid 10001 --gid 10001 --no-create-home fretsaw
USER 10001:10001
ENTRYPOINT ["/opt/fretsaw/.venv/bin/python", "-m", "fretsaw_engine"]
