-- What does wrk send? One body, with the key from the environment; and one JSON line of results.
wrk.method = "POST"
wrk.headers["Content-Type"] = os.getenv("BENCH_TYPE") or "application/json"
local key = os.getenv("BENCH_KEY")
if key then wrk.headers["Authorization"] = "Bearer " .. key end
local file = io.open(os.getenv("BENCH_BODY"), "rb")
wrk.body = file:read("*a")
file:close()
function done(summary, latency)
  local e = summary.errors
  io.write(string.format('JSON {"n":%d,"us":%d,"p50_us":%d,"p99_us":%d,"bytes":%.0f,"errors":%d,"bad":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), summary.bytes,
    e.connect + e.read + e.write + e.timeout, e.status))
end
