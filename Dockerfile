# The one-file deliverable on a slim Python: `make pex && docker build -t upswell .`
# docs/operations.md, "In a container", says how to run it.
FROM python:3.13-slim-bookworm

# A user of its own, with no home and no shell. The number is fixed, so that a host can give it directories.
RUN groupadd --system --gid 10001 upswell \
    && useradd --system --uid 10001 --gid upswell --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin upswell \
    && install --directory --owner upswell --group upswell --mode 0750 /srv/upswell /var/cache/upswell

COPY --chmod=0755 dist/upswell.pex /usr/local/bin/upswell

USER 10001:10001
ENV PEX_ROOT=/var/cache/upswell \
    PYTHONDONTWRITEBYTECODE=1
# It unpacks itself once, here, so that a container may have a read-only root.
RUN upswell --version

WORKDIR /srv/upswell
# The first SIGTERM ends a run after the current batch, with 0.
STOPSIGNAL SIGTERM
ENTRYPOINT ["upswell"]
CMD ["--help"]
