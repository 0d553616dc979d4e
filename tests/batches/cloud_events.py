"""Events as the official SDK makes them, posted to jobgate; and records as it reads them.

    cloud_events.py send URL USER    posts one event in each mode, and the batch; prints the
                                     attributes and the answers, one JSON document
    cloud_events.py read             reads records from standard input, prints their attributes
"""

import base64
import json
import sys
import urllib.request
from datetime import datetime, timezone

from cloudevents.core.bindings import http, kafka
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent


def signup(user, number):
    attributes = {
        "specversion": "1.0",
        "id": f"signup {number} €",
        "source": "https://example.com/landing?page=1",
        "type": "com.example.user.signup",
        "time": datetime(2025, 1, 1, 12, 0, 0, 250000, tzinfo=timezone.utc),
        "subject": "Zoë \"50%\"",
        "datacontenttype": "application/json",
        "dataschema": "https://example.com/schemas/signup",
        "sampledrate": 7,
        "isfirst": True,
    }
    data = {
        "user_id": user,
        "campaign_id": "7f0c9a52-6b1d-4e3f-8a2b-1c5d7e9f0a11",
        "email": "zoe@example.com",
        "first_name": "Zoë",
        "source": "direct",
        "timestamp": "2025-01-01T00:00:00Z",
    }
    return CloudEvent(attributes=attributes, data=data)


def post(url, headers, body):
    request = urllib.request.Request(url, data=body, headers=headers, method="POST")
    with urllib.request.urlopen(request) as answer:
        return {"status": answer.status, "body": json.load(answer)}


def send(url, user):
    answers = {}
    binary = http.to_binary_event(signup(user, 0))
    answers["binary"] = post(url, binary.headers, binary.body)
    structured = http.to_structured_event(signup(user, 1))
    answers["structured"] = post(url, structured.headers, structured.body)
    # The same event once more, in the other mode.
    again = http.to_structured_event(signup(user, 0))
    answers["again"] = post(url, again.headers, again.body)
    batch = [json.loads(http.to_structured_event(signup(user, number)).body) for number in (2, 3)]
    headers = {"content-type": "application/cloudevents-batch+json"}
    for name, path in (("batch", "/batch"), ("batch without its path", "")):
        answers[name] = post(url + path, headers, json.dumps(batch).encode())
    print(json.dumps(answers))


def read():
    for line in sys.stdin:
        record = json.loads(line)
        headers = {name: base64.b64decode(value) for name, value in record["headers"].items()}
        value = base64.b64decode(record["value"])
        message = kafka.KafkaMessage(headers=headers, key=None, value=value)
        event = kafka.from_binary(message, JSONFormat(), CloudEvent)
        print(json.dumps({"attributes": event.get_attributes(), "data": event.get_data()}, default=str))


if sys.argv[1] == "send":
    send(sys.argv[2], sys.argv[3])
else:
    read()
