-- wrk -s request.lua URL -- BODY FIRST_SEED: the word SEED in BODY is another number each time.

local body, seed

function init(args)
  body = args[1]
  seed = tonumber(args[2])
end

function request()
  seed = seed + 1
  return wrk.format("POST", nil, nil, (body:gsub("SEED", string.format("%d", seed))))
end

-- One line of JSON, since wrk's own words round to two digits.
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '{"requests": %d, "duration_us": %d, "bytes": %d, "p50_us": %d, "p95_us": %d, "p99_us": %d, ' ..
    '"bad_status": %d, "bad_socket": %d, "timeouts": %d}\n',
    summary.requests, summary.duration, summary.bytes,
    latency:percentile(50), latency:percentile(95), latency:percentile(99),
    e.status, e.connect + e.read + e.write, e.timeout))
end
