# syntax=docker/dockerfile:1
# Control and pool workers, and the command line: Node alone, no PyTorch. Build it in the repository's root:
#   docker build -f infra/docker/control.Dockerfile -t fretsaw/control .
FROM node:20.20-bookworm-slim AS build
WORKDIR /opt/fretsaw
COPY package.json package-lock.json ./
RUN ONNXRUNTIME_NODE_INSTALL=skip npm ci --no-audit --no-fund
COPY . .
RUN node infra/setup/build.mjs && npm prune --omit=dev --no-audit --no-fund

FROM node:20.20-bookworm-slim
ENV NODE_ENV=production FRETSAW_HOME=/var/lib/fretsaw
WORKDIR /opt/fretsaw
# The sources go along: the digest of a kind's code is taken from them.
COPY --from=build /opt/fretsaw /opt/fretsaw
RUN groupadd --gid 10001 fretsaw \
  && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/fretsaw fretsaw \
  && install --directory --owner=10001 --group=10001 /var/lib/fretsaw
USER 10001:10001
VOLUME ["/var/lib/fretsaw"]
ENTRYPOINT ["node", "/opt/fretsaw/dist/fretsaw.js"]
CMD ["worker", "--control"]
