// Renders the invoices of examples/catalog.toml: a worker that jobgate pushes its jobs to.
//
//   RENDER_SECRET=whsec_.. node receiver.mjs
//
// PORT (9000) is where it listens; RENDER_SECONDS (0) is how long an invoice takes.

import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

/** How old a request may be: an older one may have been recorded and sent again by somebody. */
const TOLERANCE_S = 5 * 60;
/** Invoices at once; further ones are asked to come later. */
const RENDERING_MAX = 8;
/**
 * Jobs that are remembered. A service that must not lose them keeps them in its database, written
 * in the same transaction as what the job does there.
 */
const KEYS_MAX = 10_000;
/** jobgate takes no larger payload. */
const BODY_BYTES_MAX = 1_048_576;

const secret = process.env.RENDER_SECRET ?? "";
if (!secret.startsWith("whsec_")) {
  console.error("RENDER_SECRET must be what jobgate signs with: whsec_ and base64");
  process.exit(1);
}
const signingKey = Buffer.from(secret.slice("whsec_".length), "base64");

/** Checks the headers that Standard Webhooks names. */
function isSigned(headers, body) {
  const { "webhook-id": id, "webhook-timestamp": timestamp = "" } = headers;
  const ageS = Math.abs(Date.now() / 1000 - Number(timestamp));
  if (!/^\d+$/.test(timestamp) || ageS > TOLERANCE_S) return false;
  const hmac = createHmac("sha256", signingKey).update(`${id}.${timestamp}.`).update(body);
  const expected = Buffer.from(`v1,${hmac.digest("base64")}`);
  // Several, while one secret is being replaced by another.
  const given = (headers["webhook-signature"] ?? "").split(" ").map((one) => Buffer.from(one));
  return given.some((one) => one.length === expected.length && timingSafeEqual(one, expected));
}

/** What has become of each job, by its Idempotency-Key: each is done once. */
const answers = new Map();
const running = new Set();

/** Does the work, unless it was done before or is being done. */
async function once(key, work) {
  if (answers.has(key)) return answers.get(key);
  if (running.has(key)) return { status: 409, said: { error: "this job still runs" } };
  if (running.size >= RENDERING_MAX) {
    const said = { error: "too many invoices at once" };
    return { status: 503, said, headers: { "retry-after": "1" } };
  }
  running.add(key);
  try {
    const answer = await work();
    // What was refused is not remembered: an operator may mend the payload, which then comes
    // under the same key.
    if (answer.status === 200) answers.set(key, answer);
    if (answers.size > KEYS_MAX) answers.delete(answers.keys().next().value);
    return answer;
  } finally {
    // After an exception the next attempt begins anew.
    running.delete(key);
  }
}

/** The work itself. */
async function render(invoice, key) {
  if (invoice.lines.length === 0) {
    // It will never work: jobgate makes it a dead letter with this answer in it.
    return { status: 422, said: { error: "an invoice needs a line" } };
  }
  await sleep(Number(process.env.RENDER_SECONDS ?? 0) * 1000);
  console.log(`rendered ${invoice.account_id} ${invoice.invoice_id} ${key}`);
  return { status: 200, said: { pages: 1 + Math.floor(invoice.lines.length / 40) } };
}

async function read(request) {
  const chunks = [];
  let bytes = 0;
  for await (const chunk of request) {
    bytes += chunk.length;
    if (bytes > BODY_BYTES_MAX) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

async function answerTo(request) {
  const body = await read(request);
  if (body === null) return { status: 413, said: { error: "a body of at most 1 MiB" } };
  if (request.method !== "POST" || request.url !== "/render") {
    return { status: 404, said: { error: "there is only POST /render" } };
  }
  const { headers } = request;
  const key = (headers["idempotency-key"] ?? "").replaceAll('"', "");
  // The id is signed, the Idempotency-Key is not: both are the job's id.
  if (!isSigned(headers, body) || key !== headers["webhook-id"]) {
    return { status: 401, said: { error: "not signed with the secret, or too old" } };
  }
  return once(key, () => render(JSON.parse(body), key));
}

const server = createServer(async (request, response) => {
  let answer;
  try {
    answer = await answerTo(request);
  } catch (error) {
    // A fault of this service: jobgate tries again.
    answer = { status: 500, said: { error: error.name } };
  }
  response.writeHead(answer.status, { "content-type": "application/json", ...answer.headers });
  response.end(JSON.stringify(answer.said));
});
server.listen(Number(process.env.PORT ?? 9000), "127.0.0.1", () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}/render`);
});
