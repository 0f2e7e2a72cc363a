# The one-file deliverable on a slim Python: `make pex && docker build -t upswell .`
# docs/operations.md, "In a container", says how to run it.
FROM python:3.13-slim-bookworm

# A user of its own, with no home and no shell. The number is fixed, so that a host can give it directories.
RUN groupadd --system --gid 10001 upswell \
    && useradd --system --uid 10001 --gid upswell --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin upswell \
    && install --directory --owner upswell --group upswell --mode 0750 /srv/upswell

# Unpacked here, once: at run time a PEX would write to a cache, and a container may have a read-only root, a /tmp that
# nothing can be run from, and a user whom nobody has heard of.
RUN --mount=type=bind,source=dist/upswell.pex,target=/mnt/upswell.pex \
    PEX_ROOT=/tmp/pex PEX_TOOLS=1 python3 /mnt/upswell.pex venv --compile /opt/upswell \
    && rm -rf /tmp/pex \
    && /opt/upswell/bin/upswell --version

ENV PATH=/opt/upswell/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /srv/upswell
# The first SIGTERM ends a run after the current batch, with 0. It is blocked until the run can stop: the kernel drops one
# for which the first process of a container has no handler, and the interpreter has none while it starts.
STOPSIGNAL SIGTERM
ENTRYPOINT ["env", "--block-signal=TERM", "upswell"]
CMD ["--help"]
