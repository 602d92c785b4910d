# One image for every part of the service: `allocation worker`, `allocation api`, and so on.
# Anything that changes with each commit comes last, so that a rebuild repeats a few seconds of work.

FROM python:3.11-slim AS build
WORKDIR /build
COPY requirements-build.lock .
RUN pip install --no-cache-dir --require-hashes -r requirements-build.lock
COPY pyproject.toml README.md ./
COPY schemas schemas
COPY allocation allocation
# The build backend is the pinned one from above, not whatever an isolated build would fetch.
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels .

FROM python:3.11-slim
# Log lines must not wait in a buffer for the next one.
ENV PYTHONUNBUFFERED=1
# Numeric, so that an orchestrator can tell that it is not root.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin allocation
COPY requirements.lock /tmp/
# Wheels only: there is no compiler here, and none is wanted.
RUN pip install --no-cache-dir --require-hashes --only-binary :all: -r /tmp/requirements.lock
COPY --from=build /wheels /tmp/wheels
RUN pip install --no-cache-dir --no-deps /tmp/wheels/*.whl
USER 10001
# All interfaces of the container; what is published outside is up to whoever runs it.
ENV ALLOCATION_HTTP_HOST=0.0.0.0
ENV ALLOCATION_CONSOLE_HOST=0.0.0.0
# Health and metrics of worker, relay, bridge and maintenance; all in one container (`run`) take this and the next three.
ENV ALLOCATION_HEALTH_PORT=5006
EXPOSE 5005 5006
ENTRYPOINT ["allocation"]
