# syntax=docker/dockerfile:1
# Two targets: `serve` answers requests and has no torch; `train` adds what retraining and export need.
#   docker build --target serve -t rightly:cpu .
#   docker build --target serve --build-arg RUNTIME=gpu -t rightly:gpu .
#   docker build --target train -t rightly-train:cpu .
# A container is reached by others: it starts with RIGHTLY_SIGN_IN=keys or oidc, or with RIGHTLY_OPEN_WITHOUT_SIGN_IN=true
# where only this machine reaches its port (docs/how-to/sign-in.md).

FROM python:3.11-slim AS base
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    BENTOML_DO_NOT_TRACK=True \
    PATH=/opt/rightly/bin:$PATH
# tini reaps what a killed worker leaves behind.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 rightly \
    && install --directory --owner rightly /var/lib/rightly

FROM base AS build-serve
ARG RUNTIME=cpu
RUN python -m venv /opt/rightly
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY services services
COPY models models
COPY audit audit
RUN pip install ".[${RUNTIME},oidc,notify,tracing]"

FROM build-serve AS build-train
ARG RUNTIME=cpu
RUN pip install ".[${RUNTIME},oidc,notify,tracing,train]"

FROM base AS train
COPY --from=build-train /opt/rightly /opt/rightly
USER rightly
WORKDIR /home/rightly
ENV RIGHTLY_HOME=/var/lib/rightly RIGHTLY_HOST=0.0.0.0
VOLUME /var/lib/rightly
EXPOSE 3000
ENTRYPOINT ["tini", "--", "rightly"]
CMD ["up"]

FROM base AS serve
COPY --from=build-serve /opt/rightly /opt/rightly
USER rightly
WORKDIR /home/rightly
ENV RIGHTLY_HOME=/var/lib/rightly RIGHTLY_HOST=0.0.0.0
VOLUME /var/lib/rightly
EXPOSE 3000
HEALTHCHECK --interval=10s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:3000/readyz', timeout=3)"]
ENTRYPOINT ["tini", "--", "rightly"]
CMD ["serve"]
