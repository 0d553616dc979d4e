# jobgate alone: no Java in it, so it needs a Kafka that runs elsewhere, named in KAFKA_BROKERS.
#
#   docker build -t jobgate .
#   docker run --rm --network host -e KAFKA_BROKERS=localhost:9092 -v jobgate-data:/data jobgate
#
# Without a key for tokens jobgate serves loopback addresses alone, and a published port leads to none
# of these: hence --network host. With one (JOBGATE_JWT_SECRET), set JOBGATE_LISTEN=0.0.0.0:8088 and
# publish the port.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
# The dependencies alone, so that a change of jobgate's own code does not build them again.
RUN mkdir src && echo 'fn main() {}' > src/main.rs && touch src/lib.rs \
    && cargo build --release --locked && rm -r src
COPY migrations migrations
COPY src src
# Copied files are older than what was just built of the placeholders.
RUN touch src/main.rs src/lib.rs && cargo build --release --locked

FROM debian:bookworm-slim
# curl for the health check; OpenSSL and the authorities for Kafka and mail over TLS.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates curl libssl3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin jobgate \
    # A volume that is mounted on one of these starts with its owner and mode.
    && install --directory --owner jobgate --group jobgate --mode 0700 /data /data/outbox
COPY --from=build /src/target/release/jobgate /usr/local/bin/jobgate
# Fails here, not at the first start, if a library is missing.
RUN ["jobgate", "--version"]
# By number, so that Kubernetes sees that it is not root.
USER 10001:10001
ENV JOBGATE_DATA_DIR=/data \
    JOBGATE_LISTEN=127.0.0.1:8088
VOLUME /data
EXPOSE 8088
# Gateways and workers both answer it. Alive, not ready: a restart of jobgate would not bring Kafka back.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD curl --fail --silent --output /dev/null "http://127.0.0.1:${JOBGATE_LISTEN##*:}/health/live"
ENTRYPOINT ["jobgate"]
