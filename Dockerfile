# The service as an image: the first stage installs, the second holds what runs and nothing else.
FROM python:3.13-slim AS build
RUN python -m venv /tmp/tools && python -m venv --without-pip /app
WORKDIR /build
COPY requirements/runtime.txt requirements/build.txt requirements/
RUN /tmp/tools/bin/pip install --no-cache-dir --require-hashes --requirement requirements/build.txt \
 && /tmp/tools/bin/pip --python /app/bin/python install --no-cache-dir --require-hashes \
      --requirement requirements/runtime.txt
COPY . .
RUN /tmp/tools/bin/pip wheel --no-build-isolation --no-deps --wheel-dir /tmp/wheel . \
 && /tmp/tools/bin/pip --python /app/bin/python install --no-cache-dir --no-deps /tmp/wheel/*.whl

FROM python:3.13-slim
# tini is process 1: it forwards signals from the first moment on, and reaps.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends tini \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/*.log
# The numbers are fixed so that volumes keep their owner from image to image.
RUN groupadd --system --gid 10001 gpukeeper \
 && useradd --system --uid 10001 --gid 10001 --home-dir /data --shell /usr/sbin/nologin gpukeeper \
 && install --directory --owner 10001 --group 10001 --mode 700 /data /data/logs
COPY --from=build /app /app
COPY deploy/start.sh /app/bin/start
COPY deploy/health.py /app/bin/health
ENV PATH=/app/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    GPUKEEPER_HOST=0.0.0.0 \
    GPUKEEPER_PORT=8080 \
    GPUKEEPER_DATA_DIR=/data \
    GPUKEEPER_LOG_FORMAT=json
USER 10001:10001
WORKDIR /data
VOLUME ["/data", "/data/logs"]
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=3 \
  CMD ["python", "-I", "-S", "/app/bin/health"]
ENTRYPOINT ["tini", "--", "sh", "/app/bin/start"]
CMD ["serve"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="gpukeeper" \
      org.opencontainers.image.description="Orders, starts, watches and announces GPU instances at Novita.ai" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
