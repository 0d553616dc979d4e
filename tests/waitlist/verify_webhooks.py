"""Says of each request on standard input (a line of JSON: secret, headers, body) whether the
published library of Standard Webhooks takes it: a line each, "valid" or why not."""

import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

for line in sys.stdin:
    request = json.loads(line)
    try:
        Webhook(request["secret"]).verify(request["body"], request["headers"])
        print("valid")
    except WebhookVerificationError as error:
        print(error)
