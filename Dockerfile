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
    && useradd --system --uid 10001 --no-create-home jobgate \
    && install --directory --owner jobgate /data
COPY --from=build /src/target/release/jobgate /usr/local/bin/jobgate
USER jobgate
ENV JOBGATE_DATA_DIR=/data \
    JOBGATE_LISTEN=127.0.0.1:8088
VOLUME /data
EXPOSE 8088
# Alive, not ready: a restart of jobgate would not bring Kafka back.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
    CMD curl --fail --silent --output /dev/null "http://127.0.0.1:${JOBGATE_LISTEN##*:}/health/live"
ENTRYPOINT ["jobgate"]
