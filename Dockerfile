# syntax=docker/dockerfile:1
# Build and run on the same Debian: the program links its OpenSSL and zlib. Images are named by their digests, so that a
# build is what it was; `docker buildx imagetools inspect IMAGE:TAG` says the digest of a newer one.
FROM rust:1.95-slim-bookworm@sha256:d7482085ff5b415f84dba5647ae71606650bdef00db7aeb69f4b3d170c3e4082 AS build
# librdkafka is built from source: a C compiler, its C++ wrapper, make.
RUN apt-get update \
 && apt-get install -y --no-install-recommends build-essential pkg-config libssl-dev zlib1g-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The cache mounts keep crates and objects between builds of the image, and out of it.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin foretell \
 && cp target/release/foretell /usr/local/bin/foretell

# docker build --target train: the training, a program and an image of its own.
FROM build AS build-train
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --features train --bin foretell-train \
 && cp target/release/foretell-train /usr/local/bin/foretell-train

FROM debian:bookworm-slim@sha256:88200866dfff7ea7f5cbcb6ec7c8a701889efe6fe859fe64d6990e4b07ea4171 AS train
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates libssl3 zlib1g \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin foretell
COPY --from=build-train /usr/local/bin/foretell-train /usr/local/bin/foretell-train
USER 10001
ENTRYPOINT ["foretell-train"]
CMD ["run", "--config", "/etc/foretell/train.toml"]

# ONNX Runtime's library, which is opened when the first ONNX model is loaded.
FROM debian:bookworm-slim@sha256:88200866dfff7ea7f5cbcb6ec7c8a701889efe6fe859fe64d6990e4b07ea4171 AS onnxruntime
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates python3-pip \
 && rm -rf /var/lib/apt/lists/*
COPY tests/onnxruntime.sh tests/onnxruntime.txt /setup/
RUN /setup/onnxruntime.sh fetch /onnxruntime

FROM debian:bookworm-slim@sha256:88200866dfff7ea7f5cbcb6ec7c8a701889efe6fe859fe64d6990e4b07ea4171
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates libssl3 zlib1g \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin foretell
COPY --from=build /usr/local/bin/foretell /usr/local/bin/foretell
COPY --from=onnxruntime /onnxruntime/libonnxruntime.so /usr/local/lib/libonnxruntime.so
# A number, so that Kubernetes' runAsNonRoot can see that it is not root.
USER 10001
# Fetched bundles: the user has no home. Mount a volume there, and a new container needs no network.
ENV FORETELL_MODEL_CACHE_DIR=/tmp/foretell
EXPOSE 8080
# SIGTERM drains: the batch in hand is committed and the group left.
STOPSIGNAL SIGTERM
# By bash, which Debian has: no curl in the image. Kubernetes has probes of its own.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
  CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /livez HTTP/1.0\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200 '"]
ENTRYPOINT ["foretell"]
CMD ["run", "--config", "/etc/foretell/foretell.toml"]
