"""What schemathesis cannot read out of the document.

Requests that are meant to be good get what only words can say: a delay, a key of their own, no
cursor that nobody has given out. Those that are meant to be bad stay as they are.
"""

import itertools
import json

import schemathesis
from schemathesis.core import NotSet
from schemathesis.core.parameters import ParameterLocation

NUMBERS = itertools.count()
DELAYS = ("90s", "10m", "1h 30m", "7days")
# Kafka runs on the machine of the test.
PARTITIONS_MAX = 12


@schemathesis.hook
def before_call(context, case, kwargs):
    query, headers = case.query or {}, case.headers or {}
    # A job that was put off does not end while somebody waits.
    if "wait" in str(headers.get("Prefer", "")):
        headers["Prefer"] = "wait=0" if query else "wait=1"
    meta, number = case.meta, next(NUMBERS)
    if meta is None:
        return
    if not meta.generation.mode.is_positive:
        body = meta.components.get(ParameterLocation.BODY)
        # Where a body may be left out, that is no fault.
        if body is not None and body.mode.is_negative and isinstance(case.body, NotSet):
            case.body = ["no object"]
        return
    if not isinstance(case.body, NotSet):
        case.body = written_as_integers(case.body)
    if case.path.endswith("/partitions") and is_many(case.body):
        case.body = {**case.body, "count": PARTITIONS_MAX}
    query.pop("cursor", None)
    if "delay" in query:
        query["delay"] = DELAYS[number % len(DELAYS)]
        query.pop("run_at", None)
    if "run_at" in query:
        query["run_at"] = "2025-01-01T00:00:00Z"
    if "Idempotency-Key" in headers:
        headers["Idempotency-Key"] = f'"key {number}"'


def written_as_integers(value):
    """To JSON Schema 4.0 is an integer; jobgate wants it written as one."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [written_as_integers(item) for item in value]
    if isinstance(value, dict):
        return {name: written_as_integers(item) for name, item in value.items()}
    return value


def is_many(body):
    count = body.get("count") if isinstance(body, dict) else None
    return type(count) is int and PARTITIONS_MAX < count <= 1000


@schemathesis.serializer("application/x-ndjson")
def lines(context, value):
    return value.encode() if isinstance(value, str) else json.dumps(value).encode() + b"\n"


@schemathesis.deserializer("application/x-ndjson")
def last_line(context, response):
    """Each line is JSON; the last one is what the schema is held against."""
    return [json.loads(line) for line in response.content.splitlines()][-1]
