// Enqueues two jobs and publishes an event through jobgate.
//
//   node main.mjs                                   sends the three
//   node main.mjs fraud.detection '{"user_id": 7}'  sends one job of your own

import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

/** How often a request is sent until its outcome is known. */
const TRIES_MAX = 5;
/** The longest wait that a Retry-After is obeyed for. */
const WAIT_MAX_S = 30;
/** Of one request; jobgate itself answers within 8 s. */
const TIMEOUT_MS = 10_000;
/** Still being answered, too much, not now, not known: the same request again says more. */
const NOT_YET = [409, 429, 503, 504];

/** An answer that is no receipt: an RFC 9457 problem document. */
class Problem extends Error {
  constructor(status, document) {
    const { type, title, detail, errors = [], id } = document;
    const lines = [`${status} ${title}: ${detail}`];
    for (const fault of errors) lines.push(`  ${fault.pointer}: ${fault.detail}`);
    if (status === 504) lines.push(`  it may be there as ${id}`);
    super(lines.join("\n"));
    this.name = "Problem";
    this.status = status;
    this.type = type;
    /** Every fault of the payload, each with its pointer and detail. */
    this.faults = errors;
    /** The id that the record has if it was written, where that is unknown. */
    this.id = id;
  }

  /** The record may have been written. Under the same key it is written once. */
  get isOutcomeUnknown() {
    return this.status === 504;
  }

  static async from(answer) {
    const document = await answer.json().catch(() => null);
    // A proxy in between may answer with something else: its status says enough.
    const isProblem = document?.title !== undefined;
    const stranger = { title: "not jobgate's answer", detail: answer.statusText };
    return new Problem(answer.status, isProblem ? document : stranger);
  }
}

/** Nothing came back: the record may or may not have been written. */
class NoAnswer extends Error {
  constructor(cause) {
    const why = cause.cause?.message || cause.cause?.code || cause.message;
    super(`no answer, so it may or may not be there: ${why}`, { cause });
    this.name = "NoAnswer";
  }
}

/** Enqueues jobs and publishes events. */
class JobClient {
  #baseUrl;
  #headers = { "content-type": "application/json" };

  /** Without a token for a jobgate that serves its own machine alone. */
  constructor(baseUrl, token) {
    this.#baseUrl = baseUrl.replace(/\/+$/, "");
    if (token) this.#headers.authorization = `Bearer ${token}`;
  }

  /** Enqueues a job of any type of GET /catalog; returns its receipt. */
  enqueue(type, payload) {
    return this.#post(`/jobs/${encodeURIComponent(type)}`, payload);
  }

  /** Publishes an event, whose key follows from it; returns its receipt. */
  publish(topic, event) {
    return this.#post(`/events/${encodeURIComponent(topic)}`, event);
  }

  /**
   * Sends the body until its outcome is known, as often as TRIES_MAX says. All tries have one
   * key, so the record is written once however many of them arrive.
   */
  async #post(path, body) {
    const headers = { ...this.#headers, "idempotency-key": `"${randomUUID()}"` };
    for (let tries = 1; ; tries++) {
      const { receipt, failure, waitSeconds = 1 } = await this.#postOnce(path, headers, body);
      if (receipt) return receipt;
      const isKnown = failure instanceof Problem && !NOT_YET.includes(failure.status);
      if (isKnown || tries === TRIES_MAX) throw failure;
      await sleep(waitSeconds * 1000);
    }
  }

  async #postOnce(path, headers, body) {
    try {
      const answer = await fetch(this.#baseUrl + path, {
        method: "POST",
        headers,
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      if (answer.ok) return { receipt: await answer.json() };
      const waitSeconds = retryAfterSeconds(answer);
      return { failure: await Problem.from(answer), waitSeconds };
    } catch (error) {
      return { failure: new NoAnswer(error) };
    }
  }
}

function retryAfterSeconds(answer) {
  const header = answer.headers.get("retry-after") ?? "";
  return /^\d+$/.test(header) ? Math.min(Number(header), WAIT_MAX_S) : 1;
}

function report({ type, id, topic, partition, offset }) {
  console.log(`${type} ${id} ${topic}/${partition}/${offset}`);
}

async function main() {
  const jobClient = new JobClient(
    process.env.JOBGATE_URL || "http://127.0.0.1:8088",
    process.env.JOBGATE_TOKEN,
  );
  const [type, payload] = process.argv.slice(2);
  if (payload !== undefined) {
    report(await jobClient.enqueue(type, JSON.parse(payload)));
    return;
  }

  const campaign_id = "7f0c9a52-6b1d-4e3f-8a2b-1c5d7e9f0a11";
  const user_id = "3d2e8b74-9c1f-4a6d-b5e0-2f4a6c8e0b22";
  report(
    await jobClient.enqueue("email.verification", {
      campaign_id,
      user_id,
      template_data: {
        email: "ada@example.com",
        verification_link: "https://example.com/verify/1",
      },
    }),
  );
  report(
    await jobClient.enqueue("fraud.detection", {
      campaign_id,
      user_id,
      check_types: ["self_referral", "fake_email", "bot"],
    }),
  );
  report(
    await jobClient.publish("user.signup", {
      user_id,
      campaign_id,
      email: "ada@example.com",
      source: "referral",
      timestamp: new Date().toISOString(),
    }),
  );
}

try {
  await main();
} catch (error) {
  if (!(error instanceof Problem || error instanceof NoAnswer)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
