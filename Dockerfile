# syntax=docker/dockerfile:1
#
# Two targets:
#   --target core   the core and proc sources: no compiler, no LLVM. deploy/base runs this.
#   (default)       the same and bcc, for kernels without BTF. deploy/overlays/bcc runs this.
#
# deploy/build-image builds both with buildah. Debian's packages are pinned to the versions of
# the stable release, Python's by hash in requirements.txt, the lock that the tests run with
# too. Give BASE a digest (--build-arg BASE=docker.io/library/debian:bookworm-slim@sha256:…)
# to fix the base image as well.
ARG BASE=docker.io/library/debian:bookworm-slim

# -- the BPF object and the environment -----------------------------------------
FROM ${BASE} AS build
ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get update \
 && apt-get install --yes --no-install-recommends \
      ca-certificates clang-14 libbpf-dev=1:1.1.* linux-libc-dev \
      python3=3.11.* python3-venv=3.11.* python3-wheel=0.38.*
WORKDIR /src
# What changes rarely comes first: the requirements before the code.
COPY requirements.txt ./
# The two secrets are optional: for sites with a certificate authority of their own.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca \
    python3 -m venv --system-site-packages /opt/tracer \
 && /opt/tracer/bin/pip install --no-cache-dir --require-hashes -r requirements.txt
COPY bpf bpf
# The multiarch folder holds asm/types.h, which linux/types.h includes.
RUN clang-14 -target bpf -O2 -g -Wall -Werror -mcpu=v2 -I bpf \
      -idirafter "/usr/include/$(uname -m)-linux-gnu" \
      -c bpf/tracer.bpf.c -o /tracer.bpf.o
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY tracer tracer
RUN mkdir -p tracer/_objects && cp /tracer.bpf.o tracer/_objects/ \
 && /opt/tracer/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation -w /dist . \
 && /opt/tracer/bin/pip install --no-cache-dir --no-deps /dist/*.whl \
 && /opt/tracer/bin/pip uninstall --yes --quiet setuptools pip \
 # Compiled here: the agent's root is read-only, so it could not write compiled files.
 && python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/tracer/lib

# -- core -------------------------------------------------------------------------
FROM ${BASE} AS core
ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get update \
 && apt-get install --yes --no-install-recommends \
      ca-certificates libbpf1=1:1.1.* python3=3.11.* tini=0.19.* \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/* /var/log/* \
      /usr/share/doc/* /usr/share/man/* /usr/share/locale/* /usr/bin/tini-static \
 && useradd --uid 65532 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin tracer \
 && rm -f /etc/passwd- /etc/shadow- /etc/group- /etc/gshadow- /etc/subuid- /etc/subgid-
COPY --from=build /opt/tracer /opt/tracer
COPY LICENSE NOTICE /usr/share/licenses/zombie-tracer/
ENV PATH=/opt/tracer/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
LABEL org.opencontainers.image.title="zombie-tracer" \
      org.opencontainers.image.description="Finds zombie processes on Kubernetes nodes as they happen." \
      org.opencontainers.image.licenses="Apache-2.0 AND GPL-2.0-only" \
      org.opencontainers.image.base.name="docker.io/library/debian:bookworm-slim"
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Run by hand, the image needs no root to emulate zombies or to scan its own processes.
# The DaemonSet sets runAsUser: 0 for the reasons in docs/permissions.md.
USER 65532:65532
ENTRYPOINT ["tracer"]

# -- with bcc -----------------------------------------------------------------------
FROM core AS bcc
USER 0:0
RUN apt-get update \
 # libc6-dev: the header-free program includes the compiler's own linux/types.h.
 && apt-get install --yes --no-install-recommends python3-bpfcc=0.26.* linux-libc-dev \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/* /var/log/* \
      /usr/share/doc/* /usr/share/man/*
USER 65532:65532
