// Requests to the service: what was asked, what came back, how long it took, and the same as curl.

let key = "";
export const setKey = (value) => { key = value; };

/** A refusal in the service's own words; `fields` are its [{pointer, detail}]. */
export class Problem extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `The service answered ${status}.`);
    this.status = status;
    this.fields = problem.errors || [];
    this.requestId = problem.request_id;
  }
}

const headersFor = (accept) => ({
  Accept: accept,
  ...(key ? { Authorization: `Bearer ${key}` } : {}),
});

/** GET a JSON document. */
export async function get(path) {
  const response = await fetch(path, { headers: headersFor("application/json") });
  if (!response.ok) throw await problemOf(response);
  return response.json();
}

/** POST `body` as JSON; the answer as the given media type, with what is known of the exchange. */
export async function post(path, body, accept) {
  const text = JSON.stringify(body);
  const began = performance.now();
  let response;
  try {
    response = await fetch(path, {
      method: "POST",
      headers: { ...headersFor(accept), "Content-Type": "application/json" },
      body: text,
    });
  } catch {
    throw new Problem(0, { detail: "The service cannot be reached. Is it still running?" });
  }
  const exchange = {
    path, accept, body,
    status: response.status,
    seed: response.headers.get("X-Seed"),
    model: response.headers.get("X-Model"),
    timing: parseTiming(response.headers.get("Server-Timing") || ""),
    curl: curlFor(path, text, accept),
  };
  if (!response.ok) {
    const problem = await problemOf(response);
    problem.exchange = { ...exchange, totalMs: performance.now() - began };
    throw problem;
  }
  const content = await response.arrayBuffer();
  exchange.totalMs = performance.now() - began;
  return { content, exchange };
}

async function problemOf(response) {
  const text = await response.text();
  try {
    return new Problem(response.status, JSON.parse(text));
  } catch {
    return new Problem(response.status, {});
  }
}

/** "decode;dur=0.1, queue;dur=0" → [{phase, ms}, …] */
function parseTiming(header) {
  return header.split(",").filter(Boolean).map((part) => {
    const [phase, duration] = part.trim().split(";dur=");
    return { phase, ms: Number(duration) };
  });
}

function curlFor(path, text, accept) {
  const quoted = text.replaceAll("'", "'\\''");
  const suffix = { "image/png": "png", "image/webp": "webp", "application/x-npy": "npy" }[accept];
  return [
    `curl -s ${location.origin}${path}`,
    ...(key ? ["-H \"Authorization: Bearer $REVERIE_KEY\""] : []),
    "-H 'Content-Type: application/json'",
    `-H 'Accept: ${accept}'`,
    `-d '${quoted}'`,
    ...(suffix ? [`-o answer.${suffix}`] : []),
  ].join(" \\\n  ");
}

/** An npy file of float32 → {shape, values}. */
export function readNpy(content) {
  const view = new DataView(content);
  const wide = view.getUint8(6) > 1;
  const length = wide ? view.getUint32(8, true) : view.getUint16(8, true);
  const start = (wide ? 12 : 10) + length;
  const header = new TextDecoder("latin1").decode(new Uint8Array(content, start - length, length));
  const shape = header.match(/'shape': \(([^)]*)\)/)[1].split(",").filter((s) => s.trim()).map(Number);
  return { shape, values: new Float32Array(content.slice(start)) };
}
