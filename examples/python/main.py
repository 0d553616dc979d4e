"""Enqueues two jobs and publishes an event through jobgate.

python3 main.py                                   sends the three
python3 main.py fraud.detection '{"user_id": 7}'  sends one job of your own
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen
from uuid import uuid4

TRIES_MAX = 5
"""How often a request is sent until its outcome is known."""
WAIT_MAX_S = 30
"""The longest wait that a Retry-After is obeyed for."""
TIMEOUT_S = 10
"""Of one request; jobgate itself answers within 8 s."""
NOT_YET = (409, 429, 503, 504)
"""Still being answered, too much, not now, not known: the same request again says more."""


@dataclass(frozen=True)
class Receipt:
    """Where the record stands. Every in-sync replica has it."""

    id: str
    type: str
    topic: str
    partition: int
    offset: int
    key: str
    status_url: str

    @classmethod
    def from_json(cls, answer: dict[str, Any]) -> Receipt:
        return cls(**{name: answer[name] for name in cls.__dataclass_fields__})

    def __str__(self) -> str:
        return f"{self.type} {self.id} {self.topic}/{self.partition}/{self.offset}"


class Problem(Exception):
    """An answer that is no receipt: an RFC 9457 problem document."""

    def __init__(self, status: int, document: dict[str, Any]) -> None:
        self.status = status
        self.type = document.get("type")
        self.faults = document.get("errors", [])
        """Every fault of the payload, each with its pointer and detail."""
        self.id = document.get("id")
        """The id that the record has if it was written, where that is unknown."""
        lines = [f"{status} {document.get('title')}: {document.get('detail')}"]
        lines += [f"  {fault['pointer']}: {fault['detail']}" for fault in self.faults]
        if self.is_outcome_unknown:
            lines.append(f"  it may be there as {self.id}")
        super().__init__("\n".join(lines))

    @property
    def is_outcome_unknown(self) -> bool:
        """The record may have been written. Under the same key it is written once."""
        return self.status == 504

    @classmethod
    def from_error(cls, error: HTTPError) -> Problem:
        try:
            document = json.load(error)
        except ValueError:
            document = None
        # A proxy in between may answer with something else: its status says enough.
        if not isinstance(document, dict) or "title" not in document:
            document = {"title": "not jobgate's answer", "detail": error.reason}
        return cls(error.code, document)


class NoAnswer(Exception):
    """Nothing came back: the record may or may not have been written."""


class JobClient:
    """Enqueues jobs and publishes events. It may be used by many threads at once."""

    def __init__(self, base_url: str, token: str | None = None) -> None:
        """Without a token for a jobgate that serves its own machine alone."""
        self._base_url = base_url.rstrip("/")
        self._headers = {"Content-Type": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    def enqueue(self, job_type: str, payload: dict[str, Any]) -> Receipt:
        """Enqueues a job of any type of GET /catalog."""
        return self._post(f"/jobs/{quote(job_type, safe='')}", payload)

    def publish(self, topic: str, event: dict[str, Any]) -> Receipt:
        """Publishes an event. Its key follows from the event."""
        return self._post(f"/events/{quote(topic, safe='')}", event)

    def _post(self, path: str, body: dict[str, Any]) -> Receipt:
        """Sends the body until its outcome is known, as often as TRIES_MAX says.

        All tries have one key, so the record is written once however many of them arrive.
        """
        url, data = self._base_url + path, json.dumps(body).encode()
        headers = self._headers | {"Idempotency-Key": f'"{uuid4()}"'}
        for tries_left in reversed(range(TRIES_MAX)):
            request = Request(url, data, headers, method="POST")
            try:
                with urlopen(request, timeout=TIMEOUT_S) as answer:
                    return Receipt.from_json(json.load(answer))
            except HTTPError as error:
                with error:
                    if error.code not in NOT_YET or tries_left == 0:
                        raise Problem.from_error(error) from None
                    wait_s = retry_after_s(error.headers.get("Retry-After", ""))
            except (OSError, HTTPException, ValueError, KeyError) as error:
                if tries_left == 0:
                    raise NoAnswer(
                        f"no answer, so it may or may not be there: {error!r}"
                    ) from error
                wait_s = 1
            time.sleep(wait_s)
        raise AssertionError("the last try returns or raises")


def retry_after_s(header: str) -> int:
    return min(int(header), WAIT_MAX_S) if header.isdecimal() else 1


def main() -> None:
    job_client = JobClient(
        os.environ.get("JOBGATE_URL") or "http://127.0.0.1:8088",
        os.environ.get("JOBGATE_TOKEN"),
    )
    if len(sys.argv) == 3:
        print(job_client.enqueue(sys.argv[1], json.loads(sys.argv[2])))
        return

    campaign_id = "7f0c9a52-6b1d-4e3f-8a2b-1c5d7e9f0a11"
    user_id = "3d2e8b74-9c1f-4a6d-b5e0-2f4a6c8e0b22"
    print(
        job_client.enqueue(
            "email.verification",
            {
                "campaign_id": campaign_id,
                "user_id": user_id,
                "template_data": {
                    "email": "ada@example.com",
                    "verification_link": "https://example.com/verify/1",
                },
            },
        )
    )
    print(
        job_client.enqueue(
            "fraud.detection",
            {
                "campaign_id": campaign_id,
                "user_id": user_id,
                "check_types": ["self_referral", "fake_email", "bot"],
            },
        )
    )
    print(
        job_client.publish(
            "user.signup",
            {
                "user_id": user_id,
                "campaign_id": campaign_id,
                "email": "ada@example.com",
                "source": "referral",
                "timestamp": datetime.now(timezone.utc).isoformat(),
            },
        )
    )


if __name__ == "__main__":
    try:
        main()
    except (Problem, NoAnswer) as error:
        sys.exit(str(error))
