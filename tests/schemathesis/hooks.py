"""What schemathesis cannot read out of the document.

Requests that are meant to be good get what only words can say: a delay, a key of their own, no
cursor that nobody has given out. Those that are meant to be bad stay as they are.
"""

import itertools
import json

import schemathesis

KEYS = itertools.count()
DELAYS = ("90s", "10m", "1h 30m", "7days")
# Kafka runs on the machine of the test.
PARTITIONS_MAX = 12


@schemathesis.hook
def before_call(context, case, kwargs):
    # Nobody waits ten seconds for a job that was put off.
    if "wait" in str((case.headers or {}).get("Prefer", "")):
        case.headers["Prefer"] = "wait=1"
    body = case.body
    if case.path.endswith("/partitions") and isinstance(body, dict) and is_many(body.get("count")):
        case.body = {**body, "count": PARTITIONS_MAX}
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    query, headers, number = case.query or {}, case.headers or {}, next(KEYS)
    query.pop("cursor", None)
    if "delay" in query:
        query["delay"] = DELAYS[number % len(DELAYS)]
        query.pop("run_at", None)
    if "run_at" in query:
        query["run_at"] = "2025-01-01T00:00:00Z"
    if "Idempotency-Key" in headers:
        headers["Idempotency-Key"] = f'"key {number}"'


def is_many(count):
    return type(count) is int and PARTITIONS_MAX < count <= 1000


@schemathesis.serializer("application/x-ndjson")
def lines(context, value):
    return value.encode() if isinstance(value, str) else json.dumps(value).encode() + b"\n"


@schemathesis.deserializer("application/x-ndjson")
def last_line(context, response):
    """Each line is JSON; the last one is what the schema is held against."""
    return [json.loads(line) for line in response.content.splitlines()][-1]
