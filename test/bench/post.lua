-- A form to the token endpoint with client_secret_basic. Arguments: Authorization header, form.
-- Prints what the orchestrator reads: answers other than 200.
bad = 0
local threads = {}
function setup(thread) table.insert(threads, thread) end
function init(args)
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"
  wrk.headers["Authorization"] = args[1]
  wrk.body = args[2]
  bad = 0
end
function response(status) if status ~= 200 then bad = bad + 1 end end
function done(summary, latency)
  local wrong = 0
  for _, thread in ipairs(threads) do wrong = wrong + thread:get("bad") end
  local errors = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout
  print(string.format('JSON {"requests":%d,"us":%d,"bad":%d,"errors":%d,"p50":%d,"p99":%d}', summary.requests,
    summary.duration, wrong, errors, latency:percentile(50), latency:percentile(99)))
end
