# docker build -t gandalf .
# docker run -p 8080:8080 -v ./gandalf.yaml:/etc/gandalf/gandalf.yaml:ro \
#     -v gandalf:/var/lib/gandalf --env-file gandalf.env gandalf
# In gandalf.yaml: server.addr ":8080", and database.dsn /var/lib/gandalf/gandalf.db.
ARG PYTHON=python:3.11-slim

FROM ${PYTHON} AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY requirements.txt requirements-build.txt ./
RUN python -m venv --without-pip /opt/gandalf \
 && pip --python /opt/gandalf/bin/python install --require-hashes --no-deps -r requirements.txt \
 && pip install --require-hashes --no-deps -r requirements.txt -r requirements-build.txt
COPY pyproject.toml setup.py README.md LICENSE ./
COPY gandalf gandalf
RUN GANDALF_COMPILE=1 pip wheel --no-deps --no-build-isolation --wheel-dir /tmp/wheel . \
 && pip --python /opt/gandalf/bin/python install --no-deps /tmp/wheel/*.whl

FROM ${PYTHON}
RUN useradd --system --uid 65532 --home-dir /var/lib/gandalf --create-home gandalf
COPY --from=build /opt/gandalf /opt/gandalf
ENV PATH=/opt/gandalf/bin:$PATH PYTHONUNBUFFERED=1 PYTHONFAULTHANDLER=1
USER 65532
# The database and the journal: what must outlive the container.
WORKDIR /var/lib/gandalf
VOLUME /var/lib/gandalf
EXPOSE 8080
STOPSIGNAL SIGTERM
# /healthz says that the process answers; a load balancer asks /readyz.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["python", "-c", \
    "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
ENTRYPOINT ["gandalf"]
CMD ["serve", "--config", "/etc/gandalf/gandalf.yaml"]
