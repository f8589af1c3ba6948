# syntax=docker/dockerfile:1

# Reverie's service, without torch.
#
#   docker build -t reverie .                    target cpu, the default
#   docker build -t reverie:gpu --target gpu .   onnxruntime-gpu with CUDA and cuDNN
#
# python ──► source ──► build-cpu ──► cpu
#                  └──► build-gpu ──► gpu
#
# Both targets stand on the same slim base: onnxruntime-gpu's wheels bring the CUDA and cuDNN
# libraries that they were built against, and the container runtime lends the driver. An nvidia/cuda
# base would carry a second copy, with versions of its own.

ARG PYTHON_IMAGE=python:3.11.13-slim-bookworm

FROM ${PYTHON_IMAGE} AS source
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY pyproject.toml constraints.txt constraints-gpu.txt README.md ./
# The environment holds no pip of its own: nothing can be installed in a running container.
RUN python -m venv --without-pip /opt/reverie

# Dependencies first, the project last: a change of code rebuilds only the last layer.
FROM source AS build-cpu
ENV PIP_CONSTRAINT=/src/constraints.txt
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; print(*p['dependencies'], *p['optional-dependencies']['cpu'], *p['optional-dependencies']['report'], sep='\n')" > requirements.txt \
    && pip --python /opt/reverie/bin/python install -r requirements.txt
COPY service service
RUN pip --python /opt/reverie/bin/python install --no-deps .

FROM source AS build-gpu
ENV PIP_CONSTRAINT="/src/constraints.txt /src/constraints-gpu.txt"
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; print(*p['dependencies'], *p['optional-dependencies']['gpu'], *p['optional-dependencies']['report'], sep='\n')" > requirements.txt \
    && pip --python /opt/reverie/bin/python install -r requirements.txt
COPY service service
RUN pip --python /opt/reverie/bin/python install --no-deps .

FROM ${PYTHON_IMAGE} AS runtime
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Reverie" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.description="Samples, interpolations, inpaintings and anomaly scores of trained generators, over REST." \
      org.opencontainers.image.licenses="Apache-2.0"
# A fixed number, so that volumes and security policies can name it.
RUN groupadd --gid 10001 reverie \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin reverie \
    && mkdir /models \
    && install --directory --owner=10001 --group=10001 /data
ENV PATH=/opt/reverie/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    REVERIE_HOST=0.0.0.0 \
    REVERIE_PORT=8000 \
    REVERIE_MODELS_STORE=/models \
    REVERIE_DATA_DIR=/data
WORKDIR /
EXPOSE 8000
USER 10001:10001
# /readyz: every model is loaded and warm, and the service is not draining.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:%s/readyz' % os.environ['REVERIE_PORT'], timeout=2)"]
# Exec form: SIGTERM reaches the service, which drains before it leaves.
ENTRYPOINT ["reverie"]
CMD ["serve"]

FROM runtime AS gpu
# What the NVIDIA container runtime lends: the driver, for computing.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    REVERIE_DEVICE=auto
COPY --from=build-gpu /opt/reverie /opt/reverie

FROM runtime AS cpu
ENV REVERIE_DEVICE=cpu
COPY --from=build-cpu /opt/reverie /opt/reverie
